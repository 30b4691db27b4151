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

    The weight lies in DRAM as rows of one tile's width, row-major: as a tiled row it would be padded
    32-fold and read as much.
    """

    def __init__(self, plan: Plan, weights: Weights, slot: str, layer: int | None = None) -> None:
        spec = plan.spec.norm
        weight = weights.take(slot, ((plan.spec.hidden_size,),), layer, bias=spec.bias, cut="replicated")
        self.op = {"rms": ttnn.rms_norm, "layer": ttnn.layer_norm}[spec.kind]
        self.arguments = {
            "epsilon": spec.eps,
            "weight": self._sticks(plan, weight.weight[0]),
            "bias": None if weight.bias is None else self._sticks(plan, weight.bias[0]),
        }
        width = plan.spec.hidden_size
        self.decode_arguments = {
            "program_config": plan.programs.decode_norm(width),
            "memory_config": plan.programs.width_sharded(width, plan.programs.cores_of(width)),
        }

    @staticmethod
    def _sticks(plan: Plan, vector: torch.Tensor) -> ttnn.Tensor:
        sticks = vector.reshape(1, 1, -1, TILE)
        return put(plan.mesh, sticks, dtype=ttnn.bfloat16, layout=ttnn.ROW_MAJOR_LAYOUT)

    def decode(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, 1, B, D] -> [1, 1, B, D]``, width-sharded in L1."""
        return self.op(x, **self.arguments, **self.decode_arguments)

    def prefill(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, 1, S, D] -> [1, 1, S, D]`` in DRAM."""
        return self.op(x, **self.arguments, memory_config=ttnn.DRAM_MEMORY_CONFIG)
