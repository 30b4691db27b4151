"""The language-model head: the vocabulary cut over the devices, and there into chunks that fit L1 (tech report 2.7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ttnn
from torch.nn import functional

from ttfamily.core.linear import Linear
from ttfamily.core.programs import TILE

if TYPE_CHECKING:
    from ttfamily.core.plan import Plan
    from ttfamily.core.weights import Weights

# B users, D hidden_size, V vocabulary on one device (padded)

MAX_CHUNK_TILES = 512


class LmHead:
    """Column-parallel logits. The vocabulary's padding is at its very end, where the caller cuts it off."""

    def __init__(self, plan: Plan, weights: Weights) -> None:
        spec, devices, here = plan.spec, plan.mesh.num_devices, plan.vocab_per_device
        weight = weights.take("lm_head", ((spec.vocab_size, spec.hidden_size),)).weight[0]
        rows = functional.pad(weight, (0, 0, 0, here * devices - spec.vocab_size)).unflatten(0, (devices, here))
        cores = plan.programs.cores_of(here)
        width = max(1, MAX_CHUNK_TILES // cores) * cores * TILE
        self.chunks = [
            Linear(plan, f"lm_head rows {i}", part.flatten(0, 1), None, "column", plan.precision.lm_head)
            for i, part in enumerate(rows.split(width, 1))
        ]

    def decode(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, 1, B, D]`` width-sharded in L1 -> ``[1, 1, B, V]`` in DRAM, cut over the devices."""
        parts = []
        for chunk in self.chunks:
            logits = chunk.decode(x)  # [1, 1, B, chunk]  L1
            parts.append(ttnn.sharded_to_interleaved(logits, ttnn.DRAM_MEMORY_CONFIG))
            ttnn.deallocate(logits)
        return ttnn.concat(parts, dim=3) if len(parts) > 1 else parts[0]
