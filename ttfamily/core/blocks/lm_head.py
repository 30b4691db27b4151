"""The language-model head: the vocabulary cut over the devices, and there into chunks that fit L1 (tech report 2.7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ttnn
from torch.nn import functional

from ttfamily.core.blocks.linear import column_linear
from ttfamily.core.mesh.placement import Sharding

if TYPE_CHECKING:
    from ttfamily.core.layout.plan import Plan
    from ttfamily.core.weights.rules import Weights

# B users, D hidden_size, V vocabulary on one device (padded)


class LmHead:
    """Logits, cut over all devices of a replica. The vocabulary's padding is at its very end, for the caller to cut."""

    LOGITS = Sharding(tensor=3, hidden=3, data=2)

    def __init__(self, plan: Plan, weights: Weights) -> None:
        spec = plan.spec
        weight = weights.take("lm_head", ((spec.vocab_size, spec.hidden_size),), cut="column").weight[0]
        mesh = plan.mesh
        padding = plan.vocab_per_device * mesh.tensor_parallel * mesh.hidden_parallel - spec.vocab_size
        rows = functional.pad(weight, (0, 0, 0, padding)) if padding else weight
        self.linear = column_linear(
            plan,
            "lm_head",
            rows,
            None,
            plan.precision.lm_head,
            beside=plan.residual_tiles,
            cut="head",
            output=ttnn.DRAM_MEMORY_CONFIG,
        )

    def decode(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, 1, B, D]`` width-sharded in L1 -> ``[1, 1, B, V]`` in DRAM, cut over the devices."""
        return ttnn.to_memory_config(self.linear.decode(x), ttnn.DRAM_MEMORY_CONFIG)
