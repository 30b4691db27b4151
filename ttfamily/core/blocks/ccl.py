"""Collectives along the axes of a mesh, and which of them stand where in a layer (tech report 3.3)."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import attrs
import ttnn

from ttfamily.core.layout.programs import COLLECTIVES_BYTES
from ttfamily.tiles import TILE, round_up

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ttfamily.core.layout.plan import Plan
    from ttfamily.core.layout.schemes import Phase
    from ttfamily.core.mesh.mesh import Mesh

Kind = Literal["all_reduce", "reduce_scatter", "all_gather"]

DRAM = ttnn.DRAM_MEMORY_CONFIG
FILLER_BYTES = 1024  # below a tile, so that no activation fits where one was
WIDTH = 3  # the dimension that is gathered and scattered

# B users or S tokens are the rows, width whatever a device has of it.


@attrs.frozen(kw_only=True)
class Collective:
    """An exchange between the chips along one axis, in one phase. Called, it frees its input.

    ================== ============================= ==============================================
    kind               output                        it is
    ================== ============================= ==============================================
    ``all_reduce``     ``[1, 1, rows, width]``       the sum of the devices' inputs, on each of them
    ``reduce_scatter`` ``[1, 1, rows, width / n]``   each device's part of that sum
    ``all_gather``     ``[1, 1, rows, width * n]``   all inputs side by side, on each device
    ================== ============================= ==============================================

    :param axis: of the mesh; along None, or one with a single device, the output is the input.
    :param width: of the input, ``[1, 1, rows, width]``, on a device.
    :param source: where the input is.
    :param memory: where the output goes; where the input is if None.
    """

    mesh: Mesh
    kind: Kind
    phase: Phase
    axis: int | None
    width: int
    source: ttnn.MemoryConfig
    memory: ttnn.MemoryConfig | None = None

    @property
    def devices(self) -> int:
        """How many take part."""
        return 1 if self.axis is None else self.mesh.shape[self.axis]

    def __call__(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """Run it."""
        if self.devices == 1:
            return x
        along = () if self.kind == "all_reduce" else (WIDTH,)
        out = getattr(ttnn, self.kind)(
            x, *along, memory_config=self.memory or x.memory_config(), **way(self.mesh, self.axis or 0)
        )
        ttnn.deallocate(x)
        return out

    def warm_up(self, rows: int) -> None:
        """Run it once on ``[1, 1, rows, width]`` zeros, laid out as its input is."""
        shape = [1, 1, rows, self.width]
        x = ttnn.zeros(shape, dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=self.mesh.device)
        ttnn.deallocate(self(ttnn.to_memory_config(x, self.source)))

    @property
    def columns(self) -> int:
        """Columns of DRAM that it has at once: its input, room to receive others' parts, and its output."""
        if self.devices == 1:
            return self.width
        if self.kind == "all_gather":
            return self.width + self.width * self.devices
        parts = round_up(self.width, TILE * self.devices)  # whole tiles; where that pads, of a padded copy
        copy = 0 if parts == self.width else parts
        ring = self.mesh.spec.axes[self.axis or 0].topology == "ring"
        received = parts if ring else 2 * parts  # on a line, from each side by itself
        return copy + self.width + received + parts // self.devices  # an all-reduce gathers where it received

    @property
    def width_out(self) -> int:
        """What a device has of the output's width."""
        parts = {"all_reduce": (1, 1), "reduce_scatter": (1, self.devices), "all_gather": (self.devices, 1)}
        times, over = parts[self.kind]
        return self.width * times // over


def way(mesh: Mesh, axis: int) -> dict[str, Any]:
    """The arguments of a collective that say how an axis's chips are joined: ttnn by itself takes a ring for a line."""
    along = mesh.spec.axes[axis]
    topology = ttnn.Topology.Ring if along.topology == "ring" else ttnn.Topology.Linear
    return {"cluster_axis": axis, "num_links": along.links, "topology": topology}


def warm_up(plan: Plan, collectives: Iterable[Collective]) -> None:
    """Run every collective once for every number of rows of its phase, while nothing else is in L1.

    Each program of a collective keeps semaphores in L1, for good. Made among live activations, they would
    stand in the way of later programs' buffers; made after a trace was captured, they would lie where its
    activations do, and a replay would overwrite them.
    """
    distinct = dict.fromkeys(each for each in collectives if each.devices > 1)  # layers have theirs in common
    if not distinct:
        return
    with _room_for_semaphores(plan.mesh):
        for each in distinct:
            for rows in plan.rows(each.phase):
                each.warm_up(rows)


@contextmanager
def _room_for_semaphores(mesh: Mesh) -> Iterator[None]:
    """Let the semaphores that collectives make meanwhile lie close together at the top of L1.

    ttnn fills L1 from the top, so semaphores would end up below whatever a collective reads and makes, and keep all
    that is above them from the buffers of later programs. Here every other 1 KiB block at the top is free, so only
    semaphores fit.
    """
    shape = [math.prod(mesh.grid), FILLER_BYTES // 4]  # a row a core
    kind = {"dtype": ttnn.uint32, "layout": ttnn.ROW_MAJOR_LAYOUT, "memory_config": ttnn.L1_MEMORY_CONFIG}
    fillers = [ttnn.zeros(shape, device=mesh.device, **kind) for _ in range(COLLECTIVES_BYTES // FILLER_BYTES)]
    for filler in fillers[::2]:
        ttnn.deallocate(filler)
    try:
        yield
    finally:
        for filler in fillers[1::2]:
            ttnn.deallocate(filler)
