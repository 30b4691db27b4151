"""Where a phase has the residual stream and what becomes of it on its way through a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import ttnn

from ttfamily.core.layout.norm_programs import norm_fits
from ttfamily.core.mesh.placement import WHOLE, Sharding

if TYPE_CHECKING:
    from ttfamily.core.config.spec import ModelSpec
    from ttfamily.core.layout.programs import Programs
    from ttfamily.core.layout.schemes import Phase, Scheme
    from ttfamily.core.mesh.mesh import Mesh

# The residual stream, [1, 1, rows, D], by scheme.
SHARDINGS = {"replicated": WHOLE, "fractured": Sharding(tensor=3), "two_dimensional": Sharding(hidden=3)}


@attrs.frozen(kw_only=True)
class StreamLayout:
    """The residual stream, ``[1, 1, rows, D]``, in one phase; memory configs are in DRAM in prefill, in L1 in decode.

    :param scheme: how it lies over the devices.
    :param sharding: the same, as tensors are put and read.
    :param axis: the mesh axis along which it is cut, or None.
    :param width: D, what a device has of its width.
    :param whole_width: what a device has of the width once the stream is gathered along ``axis`` for the
        column-parallel projections.
    :param memory: of the stream: sharded over its width if a norm fits beside it so.
    :param normed: of what a norm makes of it.
    :param whole: of the stream's whole width, hidden_size, once it is gathered for the head.
    :param partial: of the partial sums that a row-parallel projection makes.
    """

    scheme: Scheme
    sharding: Sharding
    axis: int | None
    width: int
    whole_width: int
    memory: ttnn.MemoryConfig
    normed: ttnn.MemoryConfig
    whole: ttnn.MemoryConfig
    partial: ttnn.MemoryConfig

    @classmethod
    def of(cls, spec: ModelSpec, mesh: Mesh, programs: Programs, phase: Phase, scheme: Scheme) -> StreamLayout:
        """Lay the stream out for one phase."""
        axes = {"replicated": None, "fractured": mesh.spec.tensor_axis, "two_dimensional": mesh.spec.hidden_axis}
        axis = axes[scheme]
        width = spec.hidden_size // (1 if axis is None else mesh.shape[axis])
        partial_width = spec.hidden_size // mesh.hidden_parallel
        dram = ttnn.DRAM_MEMORY_CONFIG
        decode = phase == "decode"
        normed = programs.spread_out(width) if decode else dram
        unsharded = ttnn.L1_MEMORY_CONFIG if decode else dram
        return cls(
            scheme=scheme,
            sharding=SHARDINGS[scheme],
            axis=axis,
            width=width,
            whole_width=partial_width,
            memory=normed if norm_fits(programs, width, spec.norm.kind) else unsharded,
            normed=normed,
            whole=programs.spread_out(spec.hidden_size) if decode else dram,
            partial=programs.spread_out(partial_width) if decode else dram,
        )

    @property
    def is_sharded(self) -> bool:
        """Whether norms read it in shards of its width."""
        sharded: bool = self.memory.is_sharded()
        return sharded

    @property
    def read_width(self) -> int:
        """Columns that the input of a column-parallel projection takes, with the part that it is gathered from."""
        return self.whole_width + (self.width if self.width < self.whole_width else 0)
