"""Collectives along the axes of a mesh, and which of them stand where in a layer (tech report 3.3)."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import ttnn

from ttfamily.core.layout.programs import COLLECTIVES_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ttfamily.core.layout.plan import Plan
    from ttfamily.core.mesh.mesh import Mesh

    Step = Callable[[ttnn.Tensor], ttnn.Tensor]

DRAM = ttnn.DRAM_MEMORY_CONFIG
TOOTH_BYTES = 1024  # below a tile, so that no activation fits between the teeth
WIDTH = 3  # the dimension that is gathered and scattered

# B users or S tokens are the rows, width whatever a device has of it. Every step frees its input.


def all_reduce(mesh: Mesh, axis: int | None, memory_config: ttnn.MemoryConfig | None = None) -> Step:
    """``[1, 1, rows, width] -> [1, 1, rows, width]``: the sum of the partial sums along the axis, on every device.

    :param axis: None, or one with a single device, leaves the input as it is.
    :param memory_config: of the output; the input's if None.
    """
    if _alone(mesh, axis):
        return _as_it_is

    def step(partial: ttnn.Tensor) -> ttnn.Tensor:
        memory = memory_config or partial.memory_config()
        total = ttnn.all_reduce(partial, cluster_axis=axis, memory_config=memory)
        ttnn.deallocate(partial)
        return total

    return step


def reduce_scatter(mesh: Mesh, axis: int | None, memory_config: ttnn.MemoryConfig) -> Step:
    """``[1, 1, rows, width] -> [1, 1, rows, width / devices]``: each device gets its part of the sum."""
    if _alone(mesh, axis):
        return _as_it_is

    def step(partial: ttnn.Tensor) -> ttnn.Tensor:
        part = ttnn.reduce_scatter(partial, WIDTH, cluster_axis=axis, memory_config=memory_config)
        ttnn.deallocate(partial)
        return part

    return step


def all_gather(mesh: Mesh, axis: int | None, memory_config: ttnn.MemoryConfig) -> Step:
    """``[1, 1, rows, width] -> [1, 1, rows, width * devices]``: every device gets all parts."""
    if _alone(mesh, axis):
        return _as_it_is

    def step(part: ttnn.Tensor) -> ttnn.Tensor:
        whole = ttnn.all_gather(part, WIDTH, cluster_axis=axis, memory_config=memory_config)
        ttnn.deallocate(part)
        return whole

    return step


def _alone(mesh: Mesh, axis: int | None) -> bool:
    return axis is None or mesh.shape[axis] == 1


def _as_it_is(x: ttnn.Tensor) -> ttnn.Tensor:
    return x


def sum_columns(mesh: Mesh) -> Step:
    """Add up what column-parallel projections make where the hidden size is cut: there they make partial sums."""
    return all_reduce(mesh, mesh.spec.hidden_axis)


class Exchange:
    """What the devices exchange in one phase, by the plan's scheme.

    =============== =================== ======================= =======================
    scheme          before a column cut behind a column cut     behind a row cut
    =============== =================== ======================= =======================
    replicated      nothing             nothing                 all-reduce
    fractured       all-gather          nothing                 reduce-scatter
    two_dimensional nothing             all-reduce, hidden axis all-reduce, tensor axis
    =============== =================== ======================= =======================

    What comes behind a column cut is for the blocks to do (:func:`sum_columns`), the rest for the layers.

    :ivar before_column: the normed stream, as column-parallel projections read it.
    :ivar after_row: of a row-parallel projection's partial sums, in the residual stream's layout.
    :ivar before_head: the normed stream, whole on every device.
    """

    def __init__(self, plan: Plan, phase: Literal["decode", "prefill"]) -> None:
        mesh, scheme = plan.mesh, plan.schemes[phase]
        tensor, hidden = mesh.spec.tensor_axis, mesh.spec.hidden_axis
        decode = phase == "decode"
        stream, whole = (plan.residual_memory, plan.whole_memory) if decode else (DRAM, DRAM)
        fractured = scheme == "fractured"
        self.before_column = all_gather(mesh, tensor if fractured else None, whole)
        self.after_row = (reduce_scatter if fractured else all_reduce)(mesh, tensor, stream)
        self.before_head = all_gather(mesh, tensor if fractured else hidden, whole)
        self._plan, self._decode = plan, decode
        self._widths = (
            (self.before_column, plan.stream_width(phase)),
            (sum_columns(mesh), plan.fused_width),
            (sum_columns(mesh), plan.mlp_width),
            (self.after_row, plan.partial_width),
            (self.before_head, plan.stream_width(phase)),
        )

    def warm_up(self, rows: int) -> None:
        """Run each collective once, on so many rows of zeros, laid out as in this phase."""
        for step, width in self._widths:
            if step is not _as_it_is:
                x = dram_zeros(self._plan, rows, width)
                if self._decode:
                    x = ttnn.to_memory_config(x, self._plan.programs.spread_out(width))
                ttnn.deallocate(step(x))


def dram_zeros(plan: Plan, rows: int, width: int) -> ttnn.Tensor:
    """``[1, 1, rows, width]`` in DRAM, on every device."""
    return ttnn.zeros([1, 1, rows, width], dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=plan.mesh.device)


@contextmanager
def room_for_semaphores(plan: Plan) -> Iterator[None]:
    """Let the semaphores that collectives make meanwhile lie close together at the top of L1.

    ttnn fills L1 from the top, so semaphores would end up below whatever a collective reads and makes, and keep all
    that is above them from the buffers of later programs. Here the top is a comb: every other block of a KB is
    free, room for semaphores and for nothing else.
    """
    device, cores = plan.mesh.device, math.prod(plan.mesh.grid)
    shape = [cores, TOOTH_BYTES // 4]  # a row a core
    kind = {"dtype": ttnn.uint32, "layout": ttnn.ROW_MAJOR_LAYOUT, "memory_config": ttnn.L1_MEMORY_CONFIG}
    teeth = [ttnn.zeros(shape, device=device, **kind) for _ in range(COLLECTIVES_BYTES // TOOTH_BYTES)]
    for tooth in teeth[::2]:
        ttnn.deallocate(tooth)
    try:
        yield
    finally:
        for tooth in teeth[1::2]:
            ttnn.deallocate(tooth)
