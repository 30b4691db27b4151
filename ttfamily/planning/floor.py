"""The least that a decode step could read: each weight once, each live block of the cache once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from ttfamily.planning.traffic import needed_bytes
from ttfamily.tiles import BF16_BYTES, TILE_BYTES, TILE_ELEMENTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ttfamily.core.weights.weights import Taken
    from ttfamily.planning.inventory import Held
    from ttfamily.planning.stream import Stream
    from ttfamily.planning.traffic import Roles
    from ttfamily.sim.row import DecodePoint


@attrs.frozen(kw_only=True)
class Share:
    """What one device has of a slot's weights in one layer.

    :param held: the first tensor in DRAM that is filled from the slot: its format is the weights', and it is cut as
        they are. None if there is none.
    :param bytes: unpadded, each weight once.
    """

    held: Held | None
    bytes: float


def shares(taken: Iterable[Taken], held: Sequence[Held]) -> list[Share]:
    """Return a device's share of everything that was taken of a checkpoint."""
    first: dict[tuple[str, int | None], Held] = {}
    for each in held:
        first.setdefault((each.slot, each.layer), each)
    return [_share(each, first.get((each.slot, each.layer))) for each in taken]


def _share(taken: Taken, held: Held | None) -> Share:
    if held is None:  # its block keeps it in L1, or in the tensor of another slot
        return Share(held=None, bytes=0.0)
    size = taken.elements * TILE_BYTES[held.format] / TILE_ELEMENTS + taken.biases * BF16_BYTES
    return Share(held=held, bytes=size / held.parts)


def decode_floor(weights: Sequence[Share], stream: Stream, roles: Roles, point: DecodePoint) -> int:
    """The least bytes that a device reads in a decode step: each weight once, each live block of the cache once.

    Of a table, only the rows that are looked up.
    """
    needed = needed_bytes(stream, point)

    def least(share: Share) -> float:
        if share.held is None:
            return 0.0
        whole = share.held.tensor
        part = needed.get(whole.buffer, whole.bytes)
        return part if part < whole.bytes else share.bytes

    cache = sum(size for buffer, size in needed.items() if roles.of_buffer(buffer) == "cache")
    return round(sum(map(least, weights))) + cache


def padded_floor(stream: Stream, roles: Roles, point: DecodePoint) -> int:
    """As :func:`decode_floor`, of weights as they lie in DRAM: with copies, and what pads banks, heads and sizes."""
    needed = needed_bytes(stream, point).items()
    return sum(size for buffer, size in needed if roles.of_buffer(buffer) in ("weights", "cache"))
