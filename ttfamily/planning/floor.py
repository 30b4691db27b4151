"""The least that a decode step could read: each weight once, each live block of the cache once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from ttfamily.core.config.precision import BF16_BYTES, TILE_BYTES
from ttfamily.core.mesh.tiles import TILE
from ttfamily.planning.traffic import rows_looked_up, token_tiles

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ttfamily.core.weights.rules import Taken
    from ttfamily.planning.inventory import Held
    from ttfamily.planning.stream import Stream
    from ttfamily.planning.traffic import Roles, Step


@attrs.frozen(kw_only=True)
class Share:
    """What one device has of a slot's weights in one layer.

    :param held: the first tensor that is filled from the slot: its format is the weights', and it is cut as they are.
    :param bytes: unpadded, each weight once.
    """

    held: Held
    bytes: float


def shares(taken: Iterable[Taken], held: Sequence[Held]) -> list[Share]:
    """Return a device's share of everything that was taken of a checkpoint."""
    first: dict[tuple[str, int | None], Held] = {}
    for each in held:
        first.setdefault((each.slot, each.layer), each)
    return [_share(each, first[each.slot, each.layer]) for each in taken]


def _share(taken: Taken, held: Held) -> Share:
    size = taken.elements * TILE_BYTES[held.format] / TILE**2 + taken.biases * BF16_BYTES
    return Share(held=held, bytes=size / held.parts)


def decode_floor(weights: Sequence[Share], stream: Stream, step: Step) -> int:
    """The least bytes that a device reads in a decode step: each weight once, each live block of the cache once.

    Of a table, only the rows that are looked up.
    """
    rows: dict[int | None, int] = {}
    for op in stream.ops:
        if op.short_name == "embedding":
            rows[op.inputs["1"].buffer] = step.users * op.inputs["1"].shape[-1] * BF16_BYTES
    looked_up = {share.held.tensor.buffer for share in weights} & rows.keys()
    read = sum(share.bytes for share in weights if share.held.tensor.buffer not in looked_up)
    return round(read) + sum(rows[table] for table in looked_up) + live_cache(stream, step)


def padded_floor(stream: Stream, roles: Roles, step: Step) -> int:
    """As :func:`decode_floor`, of weights as they lie in DRAM: with copies, and what pads banks, heads and sizes."""
    once: dict[int | None, int] = {}
    for op in stream.ops:
        looked_up = rows_looked_up(op, step) if op.short_name == "embedding" else {}
        for label, tensor in op.inputs.items():
            if tensor.in_dram and roles.of(tensor) == "weights":
                once[tensor.buffer] = looked_up.get(label, tensor.bytes)
    return sum(once.values()) + live_cache(stream, step)


def live_cache(stream: Stream, step: Step) -> int:
    """Bytes of the blocks of the cache that a decode step must see."""
    live: dict[int | None, int] = {}
    for op in stream.ops:
        if op.short_name == "paged_scaled_dot_product_attention_decode":
            window = op.settings.get("sliding_window_size")
            first = 0 if window is None else max(step.position + 1 - window, 0) // TILE
            blocks = step.users * (-(-(step.position + 1) // TILE) - first)
            live |= {op.inputs[label].buffer: blocks * token_tiles(op.inputs[label]) for label in ("1", "2")}
    return sum(live.values())
