"""The language-model head: the vocabulary cut over the devices, and there into chunks that fit L1 (tech report 2.7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ttnn
from torch.nn import functional

from ttfamily.core.blocks.block import Block
from ttfamily.core.blocks.linear import WideLinear, column_linear
from ttfamily.core.layout.sizes import tiled
from ttfamily.core.mesh.placement import Sharding
from ttfamily.tiles import TILE

if TYPE_CHECKING:
    from ttfamily.core.layout.plan import Plan
    from ttfamily.core.weights.weights import Weights

# B users, D hidden_size, V vocabulary on one device (padded)


class LmHead(Block):
    """Logits, cut over all devices of a replica. The vocabulary's padding is at its very end, for the caller to cut.

    :param live_tiles: as for :class:`~ttfamily.core.blocks.linear.Linear`.
    """

    LOGITS = Sharding(tensor=3, hidden=3, data=2)

    def __init__(self, plan: Plan, live_tiles: int) -> None:
        self.plan = plan
        self.linear = column_linear(
            plan,
            "lm_head",
            slot="lm_head",
            layer=None,
            in_features=plan.spec.hidden_size,
            out_features=plan.vocab_per_device * plan.mesh.tensor_parallel * plan.mesh.hidden_parallel,
            precision=plan.precision.lm_head,
            bias=False,
            live_tiles=live_tiles,
            cut="head",
            output=ttnn.DRAM_MEMORY_CONFIG,
        )

    def load(self, weights: Weights) -> None:
        """Take the weight."""
        spec, plan = self.plan.spec, self.plan
        weight = weights.take("lm_head", ((spec.vocab_size, spec.hidden_size),), cut="column").weight[0]
        padding = plan.vocab_per_device * plan.mesh.tensor_parallel * plan.mesh.hidden_parallel - spec.vocab_size
        self.linear.fill(functional.pad(weight, (0, 0, 0, padding)) if padding else weight, None)

    def decode(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, 1, B, D]`` width-sharded in L1 -> ``[1, 1, B, V]`` in DRAM, cut over the devices."""
        return ttnn.to_memory_config(self.linear.decode(x), ttnn.DRAM_MEMORY_CONFIG)

    @property
    def logits_bytes(self) -> int:
        """DRAM of a tile's rows of logits; where the head has several parts, those that are joined and the whole."""
        copies = 2 if isinstance(self.linear, WideLinear) else 1
        return copies * tiled(TILE, self.plan.vocab_per_device, self.plan.mesh.dram_banks)
