"""RMS and layer normalisation of the residual stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ttnn

from ttfamily.core.ccl import all_gather, dram_zeros, sharded_zeros
from ttfamily.core.placement import Cut, put
from ttfamily.core.programs import TILE

if TYPE_CHECKING:
    import torch

    from ttfamily.core.plan import Plan
    from ttfamily.core.schemes import Phase
    from ttfamily.core.weights import Weights

# B users, S tokens, D what a device has of the hidden size

LOCAL = {"rms": ttnn.rms_norm, "layer": ttnn.layer_norm}
# Statistics of a device's part, then the norm by everyone's: what stands in the first column of a tile for each.
DISTRIBUTED = {
    "rms": (ttnn.rms_norm_pre_all_gather, ttnn.rms_norm_post_all_gather, 1),
    "layer": (ttnn.layer_norm_pre_all_gather, ttnn.layer_norm_post_all_gather, 2),
}
DRAM = ttnn.DRAM_MEMORY_CONFIG


class Norm:
    """Normalise over the hidden size (tech report 2.3); where the stream is cut, over all its parts.

    Decode reads the weight as rows of one tile's width, row-major: as a tiled row it would be padded
    32-fold and read as much. Prefill, where that is nothing beside the activations, reads a tiled row:
    its kernel holds row-major weights only of narrower models.
    """

    def __init__(self, plan: Plan, weights: Weights, slot: str, layer: int | None = None) -> None:
        spec, mesh, programs = plan.spec.norm, plan.mesh, plan.programs
        taken = weights.take(slot, ((plan.spec.hidden_size,),), layer, bias=spec.bias, cut="replicated")
        vectors = {"weight": taken.weight[0], "bias": None if taken.bias is None else taken.bias[0]}
        width, cut = plan.stream_width("decode"), plan.stream_cut("decode")
        self.decode_memory = plan.residual_memory
        self.decode_arguments = {
            "epsilon": spec.eps,
            **{name: _put(plan, vector, ttnn.ROW_MAJOR_LAYOUT, cut) for name, vector in vectors.items()},
            "program_config": programs.decode_norm(width),
            "memory_config": self.decode_memory,
        }
        self.prefill_arguments = {
            "epsilon": spec.eps,
            **{
                name: _put(plan, vector, ttnn.TILE_LAYOUT, plan.stream_cut("prefill"))
                for name, vector in vectors.items()
            },
            "memory_config": DRAM,
        }
        self.plan = plan
        self.op = LOCAL[spec.kind]
        self.statistics, self.by_statistics, tiles = DISTRIBUTED[spec.kind]
        self.fits = programs.norm_fits(width, spec.kind)
        axes = {phase: _axis(plan.stream_cut(phase), plan) for phase in ("decode", "prefill")}
        self.decode_distributed, self.prefill_distributed = (axis is not None for axis in axes.values())
        devices = 1 if axes["decode"] is None else mesh.shape[axes["decode"]]
        gathered = programs.width_sharded(TILE * tiles * devices, 1) if self.fits else DRAM
        self.decode_gather = all_gather(mesh, axes["decode"], gathered)
        self.prefill_gather = all_gather(mesh, axes["prefill"], DRAM)

    def decode(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, 1, B, D] -> [1, 1, B, D]``, width-sharded in L1."""
        if not self.fits:  # only one core can hold such a width
            normed = self._in_dram(ttnn.to_memory_config(x, DRAM), distributed=self.decode_distributed)
            return ttnn.to_memory_config(normed, self.decode_memory)
        if not self.decode_distributed:
            return self.op(x, **self.decode_arguments)
        own = self.statistics(x, program_config=self.decode_arguments["program_config"])  # [1, 1, B, 32 a number]
        return self.by_statistics(x, self.decode_gather(own), **self.decode_arguments)  # one small collective

    def prefill(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, 1, S, D] -> [1, 1, S, D]`` in DRAM."""
        return self._in_dram(x, distributed=self.prefill_distributed)

    def warm_up(self, rows: int, phase: Phase) -> None:
        """Run what a pass of so many rows gathers once."""
        if phase == "prefill" and self.prefill_distributed:
            ttnn.deallocate(self.prefill(dram_zeros(self.plan, rows, self.plan.stream_width(phase))))
        if phase == "decode" and self.decode_distributed:
            x = sharded_zeros(self.plan, rows, self.plan.stream_width(phase))
            ttnn.deallocate(self.decode(x))
            ttnn.deallocate(x)

    def _in_dram(self, x: ttnn.Tensor, *, distributed: bool) -> ttnn.Tensor:
        if not distributed:
            return self.op(x, **self.prefill_arguments)
        return self.by_statistics(x, self.prefill_gather(self.statistics(x)), **self.prefill_arguments)


def _axis(cut: Cut, plan: Plan) -> int | None:
    """The mesh axis over which the stream is cut."""
    axes = [axis for axis, dim in enumerate(cut.by_axis(plan.mesh)) if dim is not None and plan.mesh.shape[axis] > 1]
    return axes[0] if axes else None


def _put(plan: Plan, vector: torch.Tensor | None, layout: ttnn.Layout, cut: Cut) -> ttnn.Tensor | None:
    """Put ``[D]`` on the mesh: row-major as rows of one tile's width, tiled as one row."""
    if vector is None:
        return None
    row_major = layout == ttnn.ROW_MAJOR_LAYOUT
    shaped = vector.reshape(1, 1, -1, TILE) if row_major else vector[None, None, None]
    if row_major:  # the rows are cut where the stream's columns are
        cut = Cut(tensor=cut.tensor and 2, hidden=cut.hidden and 2)
    return put(plan.mesh, shaped, dtype=ttnn.bfloat16, layout=layout, cut=cut)
