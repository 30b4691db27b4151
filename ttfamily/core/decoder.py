"""One decoder layer: two norms, two blocks, two residual additions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ttnn

from ttfamily.core.attention import Attention
from ttfamily.core.mlp import MLPS
from ttfamily.core.norm import Norm

if TYPE_CHECKING:
    from ttfamily.core.plan import Plan
    from ttfamily.core.steps import DecodeStep, PrefillChunk
    from ttfamily.core.weights import Weights

# B users, S tokens, D hidden_size (whole on every device)


class DecoderLayer:
    """``x + attention(norm(x))``, then ``x + mlp(norm(x))``. A layer frees what it is given."""

    def __init__(self, plan: Plan, weights: Weights, layer: int) -> None:
        self.attention_norm = Norm(plan, weights, "layer.attention_norm", layer)
        self.attention = Attention(plan, weights, layer)
        self.mlp_norm = Norm(plan, weights, "layer.mlp_norm", layer)
        self.mlp = MLPS[plan.spec.mlp.kind](plan, weights, layer)
        width = plan.spec.hidden_size
        self.residual = plan.programs.width_sharded(width, plan.programs.cores_of(width))

    def decode(self, x: ttnn.Tensor, step: DecodeStep) -> ttnn.Tensor:
        """``[1, 1, B, D] -> [1, 1, B, D]``, width-sharded in L1."""
        attended = self.attention.decode(self.attention_norm.decode(x), step)
        h = _add(x, attended, self.residual)
        fed = self.mlp.decode(self.mlp_norm.decode(h))
        return _add(h, fed, self.residual)

    def prefill(self, x: ttnn.Tensor, chunk: PrefillChunk) -> ttnn.Tensor:
        """``[1, 1, S, D] -> [1, 1, S, D]`` in DRAM."""
        attended = self.attention.prefill(self.attention_norm.prefill(x), chunk)
        h = _add(x, attended, ttnn.DRAM_MEMORY_CONFIG)
        fed = self.mlp.prefill(self.mlp_norm.prefill(h))
        return _add(h, fed, ttnn.DRAM_MEMORY_CONFIG)


def _add(x: ttnn.Tensor, y: ttnn.Tensor, memory_config: ttnn.MemoryConfig) -> ttnn.Tensor:
    total = ttnn.add(x, y, memory_config=memory_config)
    ttnn.deallocate(x), ttnn.deallocate(y)
    return total
