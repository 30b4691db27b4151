"""DRAM traffic: what the ops of a phase read and write on one device, by their rows, and the least they could."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import attrs

from ttfamily.sim.row import DecodePoint
from ttfamily.sim.table import row_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ttfamily.planning.inventory import Held
    from ttfamily.planning.stream import Stream
    from ttfamily.sim.facts import Op, TensorFacts

Role = Literal["weights", "cache", "activations"]
START = DecodePoint()  # for phases whose traffic depends on no position


@attrs.frozen(kw_only=True)
class Traffic:
    """Bytes between one chip and its DRAM.

    :param weights: read.
    :param cache: keys and values read.
    :param activations: read, tables of tokens and positions among them.
    :param written: activations, keys and values.
    """

    weights: int = 0
    cache: int = 0
    activations: int = 0
    written: int = 0

    @property
    def read(self) -> int:
        """All that is read."""
        return self.weights + self.cache + self.activations

    @property
    def total(self) -> int:
        """Read and written."""
        return self.read + self.written

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(**{field.name: getattr(self, field.name) + getattr(other, field.name) for field in FIELDS})


FIELDS = attrs.fields(Traffic)


class Roles:
    """Tells weights, cache and activations apart by the buffers that stay in DRAM."""

    def __init__(self, held: Iterable[Held]) -> None:
        self._held = {each.tensor.buffer: each for each in held}

    def of(self, tensor: TensorFacts) -> Role:
        """Return the role of a tensor."""
        return self.of_buffer(tensor.buffer)

    def of_buffer(self, buffer: int | None) -> Role:
        """Return the role of what lies in a buffer."""
        held = self._held.get(buffer)
        if held is None:
            return "activations"
        return "cache" if held.in_cache else "weights"


def op_traffic(op: Op, roles: Roles, point: DecodePoint = START) -> Traffic:
    """Count one op.

    :param point: for the ops of a decode step: what flash decode reads depends on the positions.
    :raises SimulatorError: if the op has no row.
    """
    moved = row_of(op.name).moves(op, point)
    read = (Traffic(**{roles.of(op.inputs[label]): size}) for label, size in moved.read.items())
    return sum(read, Traffic(written=moved.written))


def stream_traffic(stream: Stream, roles: Roles, point: DecodePoint = START) -> Traffic:
    """Count a phase."""
    return sum((op_traffic(op, roles, point) for op in stream.ops), Traffic())


def needed_bytes(stream: Stream, point: DecodePoint) -> dict[int | None, int]:
    """The least bytes of every buffer that a decode step must read: each once, however many ops read it."""
    needed: dict[int | None, int] = {}
    for op in stream.ops:
        for label, size in row_of(op.name).moves(op, point).needed.items():
            buffer = op.inputs[label].buffer
            needed[buffer] = max(size, needed.get(buffer, 0))
    return needed
