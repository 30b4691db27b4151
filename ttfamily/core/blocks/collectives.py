"""What the chips exchange in a layer, by the plan's scheme; made for both phases, or for one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from ttfamily.core.blocks.block import Block
from ttfamily.core.blocks.ccl import DRAM, Collective

if TYPE_CHECKING:
    import ttnn

    from ttfamily.core.blocks.ccl import Kind
    from ttfamily.core.layout.plan import Plan
    from ttfamily.core.layout.schemes import Phase


class CollectivePair(Block):
    """A collective of both phases: ``decode(x)`` and ``prefill(x)`` free x.

    The output lies as the input does: in decode width-sharded over as many cores as its width allows, in prefill in
    DRAM; with ``memory`` there in both.

    :param axis: of the mesh; along None nothing is exchanged.
    :param width: of the input on a device.
    """

    def __init__(
        self, plan: Plan, kind: Kind, axis: int | None, width: int, memory: ttnn.MemoryConfig | None = None
    ) -> None:
        self.decode = collective(plan, kind, "decode", axis, width, source=memory)
        self.prefill = collective(plan, kind, "prefill", axis, width, source=memory)


def collective(
    plan: Plan,
    kind: Kind,
    phase: Phase,
    axis: int | None,
    width: int,
    *,
    source: ttnn.MemoryConfig | None = None,
    memory: ttnn.MemoryConfig | None = None,
) -> Collective:
    """Make the collective of one phase.

    :param source: of its input; if None, width-sharded in decode and DRAM in prefill.
    :param memory: of its output; if None, as the input is.
    """
    spread_out = plan.programs.spread_out
    usual = spread_out(width) if phase == "decode" else DRAM
    made = Collective(
        mesh=plan.mesh, kind=kind, phase=phase, axis=axis, width=width, source=source or usual, memory=memory
    )
    if memory is None and source is None and phase == "decode" and made.width_out != width:
        return attrs.evolve(made, memory=spread_out(made.width_out))  # as many cores as the new width allows
    return made


def sum_columns(plan: Plan, width: int) -> CollectivePair:
    """Add up what column-parallel projections make where the hidden size is cut: there they make partial sums."""
    return CollectivePair(plan, "all_reduce", plan.mesh.spec.hidden_axis, width)


class Collectives(Block):
    """What a layer's blocks have around them in one phase.

    =============== =================== ======================= =======================
    scheme          before a column cut after a column cut      after a row cut
    =============== =================== ======================= =======================
    replicated      nothing             nothing                 all-reduce
    fractured       all-gather          nothing                 reduce-scatter
    two_dimensional nothing             all-reduce, hidden axis all-reduce, tensor axis
    =============== =================== ======================= =======================

    What comes after a column cut is for the blocks to do (:func:`sum_columns`), the rest for the layers.

    :ivar before_column: of the normed stream, for column-parallel projections.
    :ivar after_row: of a row-parallel projection's partial sums, to the residual stream.
    """

    def __init__(self, plan: Plan, phase: Phase) -> None:
        stream, tensor = plan.stream(phase), plan.mesh.spec.tensor_axis
        fractured = stream.scheme == "fractured"
        along = tensor if fractured else None
        scatter: Kind = "reduce_scatter" if fractured else "all_reduce"
        self.before_column = collective(plan, "all_gather", phase, along, stream.width, memory=stream.whole)
        self.after_row = collective(plan, scatter, phase, tensor, plan.partial_width, memory=stream.memory)


def before_head(plan: Plan, phase: Phase) -> Collective:
    """Gather the normed stream, whole on every device."""
    stream = plan.stream(phase)
    return collective(plan, "all_gather", phase, stream.axis, stream.width, memory=stream.whole)
