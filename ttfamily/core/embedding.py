"""Token ids to the residual stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ttnn

from ttfamily.core.placement import put

if TYPE_CHECKING:
    from ttfamily.core.plan import Plan
    from ttfamily.core.weights import Weights

# B users, S tokens, V vocab_size, D hidden_size


class Embedding:
    """Rows of the table, looked up on the device. The table is whole on every device, row-major in DRAM."""

    def __init__(self, plan: Plan, weights: Weights) -> None:
        spec = plan.spec
        table = weights.take("embedding", ((spec.vocab_size, spec.hidden_size),), cut="replicated").weight[0]
        self.table = put(plan.mesh, table[None, None], dtype=ttnn.bfloat16, layout=ttnn.ROW_MAJOR_LAYOUT)
        self.residual = plan.residual_memory

    def decode(self, tokens: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, B]`` uint32 -> ``[1, 1, B, D]``, width-sharded in L1."""
        x = self.prefill(tokens)
        sharded = ttnn.to_memory_config(x, self.residual)
        ttnn.deallocate(x)
        return sharded

    def prefill(self, tokens: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, S]`` uint32 -> ``[1, 1, S, D]`` in DRAM."""
        return ttnn.unsqueeze_to_4D(ttnn.embedding(tokens, self.table, layout=ttnn.TILE_LAYOUT))
