"""RMS and layer normalisation of the residual stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ttnn

from ttfamily.core.placement import put
from ttfamily.core.programs import TILE

if TYPE_CHECKING:
    import torch

    from ttfamily.core.plan import Plan
    from ttfamily.core.weights import Weights

# B users, S tokens, D hidden_size (whole on every device)


class Norm:
    """Normalise over the hidden size (tech report 2.3).

    Decode reads the weight as rows of one tile's width, row-major: as a tiled row it would be padded
    32-fold and read as much. Prefill, where that is nothing beside the activations, reads a tiled row:
    its kernel holds row-major weights only of narrower models.
    """

    def __init__(self, plan: Plan, weights: Weights, slot: str, layer: int | None = None) -> None:
        spec = plan.spec.norm
        weight = weights.take(slot, ((plan.spec.hidden_size,),), layer, bias=spec.bias, cut="replicated")
        self.op = {"rms": ttnn.rms_norm, "layer": ttnn.layer_norm}[spec.kind]
        vectors = {"weight": weight.weight[0], "bias": None if weight.bias is None else weight.bias[0]}
        width = plan.spec.hidden_size
        self.decode_arguments = {
            "epsilon": spec.eps,
            **{name: _put(plan, vector, ttnn.ROW_MAJOR_LAYOUT) for name, vector in vectors.items()},
            "program_config": plan.programs.decode_norm(width),
            "memory_config": plan.residual_memory,
        }
        self.decode = self._decode_sharded if plan.programs.norm_fits(width) else self._decode_through_dram
        self.prefill_arguments = {
            "epsilon": spec.eps,
            **{name: _put(plan, vector, ttnn.TILE_LAYOUT) for name, vector in vectors.items()},
            "memory_config": ttnn.DRAM_MEMORY_CONFIG,
        }

    def _decode_sharded(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, 1, B, D] -> [1, 1, B, D]``, width-sharded in L1."""
        return self.op(x, **self.decode_arguments)

    def _decode_through_dram(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, 1, B, D] -> [1, 1, B, D]``, width-sharded in L1, for a width that only one core can hold."""
        normed = self.prefill(ttnn.to_memory_config(x, ttnn.DRAM_MEMORY_CONFIG))
        return ttnn.to_memory_config(normed, self.decode_arguments["memory_config"])

    def prefill(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, 1, S, D] -> [1, 1, S, D]`` in DRAM."""
        return self.op(x, **self.prefill_arguments)


def _put(plan: Plan, vector: torch.Tensor | None, layout: ttnn.Layout) -> ttnn.Tensor | None:
    """Put ``[D]`` on the mesh: row-major as rows of one tile's width, tiled as one row."""
    if vector is None:
        return None
    width = TILE if layout == ttnn.ROW_MAJOR_LAYOUT else len(vector)
    return put(plan.mesh, vector.reshape(1, 1, -1, width), dtype=ttnn.bfloat16, layout=layout)
