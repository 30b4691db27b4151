"""How long a phase takes at the least: for every op what limits it, and a fixed cost for dispatching it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import attrs

from ttfamily.planning.traffic import START, op_traffic
from ttfamily.sim.table import row_of
from ttfamily.tiles import TILE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ttfamily.core.mesh.boards import Axis
    from ttfamily.planning.hardware import Chip
    from ttfamily.planning.stream import Stream
    from ttfamily.planning.traffic import Roles
    from ttfamily.sim.facts import Op
    from ttfamily.sim.row import DecodePoint

Bound = Literal["dram", "compute", "links", "dispatch", "host"]
BOUNDS: tuple[Bound, ...] = ("dram", "compute", "links", "dispatch", "host")
FLOPS_OF_TILES = 2 * TILE**3  # one tile times another
DEFAULT_FIDELITY = "HiFi2"  # of flash attention, where no kernel config is given (ttnn 0.81)


@attrs.frozen(kw_only=True)
class OpTime:
    """Seconds that each resource needs for an op; they work at the same time, dispatch comes on top."""

    op: str
    dram: float
    compute: float
    links: float
    dispatch: float

    @property
    def limit(self) -> Bound:
        """The resource that the op waits for."""
        limits: dict[Bound, float] = {"dram": self.dram, "compute": self.compute, "links": self.links}
        return max(limits, key=limits.__getitem__)

    @property
    def busy(self) -> float:
        """Seconds that the op runs."""
        return max(self.dram, self.compute, self.links)

    @property
    def seconds(self) -> float:
        """From one op's start to the next one's."""
        return self.busy + self.dispatch


@attrs.frozen(kw_only=True)
class PhaseTime:
    """The time of a phase, cut by what it was spent waiting for.

    :param seconds: in all.
    :param split: seconds by bound; they add up to ``seconds``.
    :param by_op: seconds by op name, without what the host adds.
    """

    seconds: float
    split: dict[Bound, float]
    by_op: dict[str, float]

    @property
    def bound(self) -> Bound:
        """What most of the time is spent waiting for."""
        return max(self.split, key=self.split.__getitem__)


def op_time(op: Op, chip: Chip, axes: Sequence[Axis], roles: Roles, point: DecodePoint = START) -> OpTime:
    """Predict one op."""
    traffic = op_traffic(op, roles, point)
    sharded = sum(t.bytes for t in op.inputs.values() if t.memory == "dram_sharded") if op.bank_sharded else 0
    products = row_of(op.name).multiplies(op)
    return OpTime(
        op=op.name,
        dram=sharded / chip.dram_sharded + (traffic.total - sharded) / chip.dram_interleaved,
        compute=FLOPS_OF_TILES * products / chip.flops_per_core[op.fidelity or DEFAULT_FIDELITY],
        links=collective_seconds(op, chip, axes),
        dispatch=chip.dispatch * len(op.programs),
    )


def decode_time(
    stream: Stream, chip: Chip, axes: Sequence[Axis], roles: Roles, point: DecodePoint, *, logits_bytes: int
) -> PhaseTime:
    """Predict a traced decode step: op after op, then the logits to the host.

    :param logits_bytes: that a card sends to the host.
    """
    times = [op_time(op, chip, axes, roles, point) for op in stream.ops]
    return _summed(times, host=logits_bytes / chip.pcie)


def prefill_time(stream: Stream, chip: Chip, axes: Sequence[Axis], roles: Roles, *, logits_bytes: int) -> PhaseTime:
    """Predict a prefill, which the host dispatches call by call while the device runs what it has been given.

    What the device waits for the host is the host's time.
    """
    times = [op_time(op, chip, axes, roles) for op in stream.ops]
    device = sum(time.seconds for time in times)
    host = stream.calls * chip.host_call
    # The host is ahead wherever the device is the slower one, so the slower of the two sets the pace.
    return _summed(times, host=max(0.0, host - device) + logits_bytes / chip.pcie)


def collective_seconds(op: Op, chip: Chip, axes: Sequence[Axis]) -> float:
    """Predict how long a collective's bytes take over the busiest link, and the hops to the farthest chip."""
    phases = row_of(op.name).link_phases
    if not phases or op.axis is None:
        return 0.0
    axis = axes[op.axis]
    whole = max(tensor.bytes for tensor in (*op.inputs.values(), *op.outputs))
    links = int(op.settings.get("num_links", axis.links))
    return phases * (link_bytes(whole, axis) / (links * chip.link) + hops(axis) * chip.hop)


def link_bytes(whole: int, axis: Axis) -> float:
    """Bytes that pass the busiest place between neighbours, one way, in an all-gather or a reduce-scatter.

    On a line the last chip takes every other chip's part through its one neighbour; around a ring half
    of the parts come from each side.

    :param whole: bytes of the gathered tensor, or of one that is to be reduced.
    """
    one_way = whole * (axis.devices - 1) / axis.devices
    return one_way / 2 if axis.topology == "ring" else one_way


def hops(axis: Axis) -> int:
    """How far the farthest chip is."""
    return axis.devices // 2 if axis.topology == "ring" else axis.devices - 1


def _summed(times: Sequence[OpTime], *, host: float) -> PhaseTime:
    split: dict[Bound, float] = dict.fromkeys(BOUNDS, 0.0)
    by_op: dict[str, float] = {}
    for time in times:
        split[time.limit] += time.busy
        split["dispatch"] += time.dispatch
        by_op[time.op] = by_op.get(time.op, 0.0) + time.seconds
    split["host"] += host
    return PhaseTime(seconds=sum(split.values()), split=split, by_op=by_op)
