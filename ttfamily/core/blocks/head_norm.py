"""The rms norm of every query and key head, before rotation (Dehghani et al. 2023, section 2; Qwen3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import ttnn
from torch.nn import functional

from ttfamily.core.blocks.block import Block
from ttfamily.core.blocks.parameter import Parameter
from ttfamily.core.blocks.rope import interleave
from ttfamily.tiles import TILE

if TYPE_CHECKING:
    from typing import Literal

    from ttfamily.core.config.spec import NormSpec
    from ttfamily.core.layout.plan import Plan
    from ttfamily.core.weights.weights import Weights

# B users, S tokens, H heads, E head_dim (padded)


class RmsHeadNorm(Block):
    """``x / sqrt(mean(x^2) + eps) * weight`` over each head.

    The op divides by the padded width, so weight and epsilon carry the ratio of the two widths: with
    mean over E of what is zero in the padding, ``sqrt(mean_E + eps d / E) = sqrt(d / E) sqrt(mean_d + eps)``.
    """

    def __init__(
        self, plan: Plan, name: Literal["q_norm", "k_norm"], layer: int, spec: NormSpec, heads_per_group: int
    ) -> None:
        self.plan = plan
        self.share = plan.spec.attention.head_dim / plan.head_dim
        self.weight = Parameter(
            mesh=plan.mesh,
            slot=f"layer.attention.{name}",
            layer=layer,
            shape=(1, 1, plan.head_dim // TILE, TILE),
            layout=ttnn.ROW_MAJOR_LAYOUT,
        )
        self.epsilon = spec.eps * self.share
        self.by_user = plan.programs.user_sharded(plan.users, heads_per_group, plan.head_dim)

    def load(self, weights: Weights) -> None:
        """Take the weight."""
        size = self.plan.spec.attention.head_dim
        taken = weights.take(self.weight.slot, ((size,),), self.weight.layer, cut="replicated").weight[0]
        weight = interleave(taken, size, self.plan.spec.rope.rotary_dim)  # as the rows of the projection are
        padded = functional.pad(weight.to(torch.float32) * self.share**0.5, (0, self.plan.head_dim - size))
        self.weight.fill(padded.reshape(self.weight.shape))
        self.arguments = {"epsilon": self.epsilon, "weight": self.weight.tensor}

    def decode(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, B, H, E] -> [1, B, H, E]``, a core a user; frees its input."""
        whole = ttnn.to_memory_config(x, ttnn.L1_MEMORY_CONFIG)  # the op takes no height-sharded input
        ttnn.deallocate(x)
        normed = ttnn.rms_norm(whole, **self.arguments, memory_config=ttnn.L1_MEMORY_CONFIG)
        ttnn.deallocate(whole)
        by_user = ttnn.to_memory_config(normed, self.by_user)
        ttnn.deallocate(normed)
        return by_user

    def prefill(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, H, S, E] -> [1, H, S, E]`` in DRAM; frees its input."""
        normed = ttnn.rms_norm(x, **self.arguments, memory_config=ttnn.DRAM_MEMORY_CONFIG)
        ttnn.deallocate(x)
        return normed
