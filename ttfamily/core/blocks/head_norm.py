"""The rms norm of every query and key head, before rotation (Dehghani et al. 2023, section 2; Qwen3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import ttnn
from torch.nn import functional

from ttfamily.core.blocks.rope import interleave
from ttfamily.core.mesh.placement import put
from ttfamily.tiles import TILE

if TYPE_CHECKING:
    from typing import Literal

    from ttfamily.core.layout.plan import Plan
    from ttfamily.core.weights.rules import Weights

# B users, S tokens, H heads, E head_dim (padded)


class RmsHeadNorm:
    """``x / sqrt(mean(x^2) + eps) * weight`` over each head.

    The op divides by the padded width, so weight and epsilon carry the ratio of the two widths: with
    mean over E of what is zero in the padding, ``sqrt(mean_E + eps d / E) = sqrt(d / E) sqrt(mean_d + eps)``.
    """

    def __init__(self, plan: Plan, weights: Weights, slot: Literal["q_norm", "k_norm"], layer: int, heads: int) -> None:
        spec, size = plan.spec.attention, plan.spec.attention.head_dim
        assert spec.qk_norm is not None  # noqa: S101 -- whoever builds one has looked
        taken = weights.take(f"layer.attention.{slot}", ((size,),), layer, cut="replicated").weight[0]
        weight = interleave(taken, size, plan.spec.rope.rotary_dim)  # as the rows of the projection are
        share = size / plan.head_dim
        padded = functional.pad(weight.to(torch.float32) * share**0.5, (0, plan.head_dim - size))
        self.arguments = {
            "epsilon": spec.qk_norm.eps * share,
            "weight": put(plan.mesh, padded.reshape(1, 1, -1, TILE), dtype=ttnn.bfloat16, layout=ttnn.ROW_MAJOR_LAYOUT),
        }
        self.by_user = plan.programs.user_sharded(plan.users, heads, plan.head_dim)

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
