"""Attention: fused QKV, flash attention over the paged cache, row-parallel output (tech report 2.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import ttnn

from ttfamily.core.blocks.ccl import sum_columns
from ttfamily.core.blocks.flash import flash_attention
from ttfamily.core.blocks.head_norm import RmsHeadNorm
from ttfamily.core.blocks.linear import Linear, column_linear
from ttfamily.core.blocks.rope import interleave
from ttfamily.core.layout.heads import arrange
from ttfamily.tiles import tiles

if TYPE_CHECKING:
    from ttfamily.core.blocks.kv_cache import LayerCache
    from ttfamily.core.blocks.steps import DecodeStep, PrefillChunk
    from ttfamily.core.layout.heads import Source
    from ttfamily.core.layout.plan import Plan
    from ttfamily.core.weights.rules import Weights

# B users, S tokens, D hidden_size; H query heads, K key/value heads on one device, E head_dim (padded)


class Attention:
    """Grouped-query attention, heads cut over the devices; what comes out are partial sums, for the layer to add up."""

    def __init__(self, plan: Plan, weights: Weights, layer: int) -> None:
        spec, heads, programs = plan.spec.attention, plan.heads, plan.programs
        hidden, size = plan.spec.hidden_size, spec.head_dim
        wide, narrow = spec.num_attention_heads * size, spec.num_key_value_heads * size
        qkv = weights.take(
            "layer.attention.qkv",
            ((wide, hidden), (narrow, hidden), (narrow, hidden)),
            layer,
            bias=spec.qkv_bias,
            cut="column",
        )
        out = weights.take("layer.attention.out", ((hidden, wide),), layer, bias=spec.out_bias, cut="row")
        # Beside attention's own: the residual, and the hole of the fused heads.
        beside = plan.residual_tiles + programs.shard_tiles(plan.fused_width)
        self.qkv = column_linear(
            plan,
            f"layer {layer} attention.qkv",
            _fuse(plan, qkv.weight),
            None if qkv.bias is None else _fuse(plan, qkv.bias),
            plan.precision.of(layer).qkv,
            beside=plan.residual_tiles,
        )
        self.sum_columns = sum_columns(plan.mesh)
        norms = None
        if spec.qk_norm is not None:
            norms = (
                RmsHeadNorm(plan, weights, "q_norm", layer, heads.query_per_group),
                RmsHeadNorm(plan, weights, "k_norm", layer, heads.key_value_per_group),
            )
        self.flash = flash_attention(plan, layer, norms, beside=beside)
        self.out = Linear(
            plan,
            f"layer {layer} attention.out",
            arrange(out.weight[0].T, heads.query, size, plan.head_dim).T,
            None if out.bias is None else out.bias[0],
            "row",
            plan.precision.of(layer).out,
            beside=beside + tiles(plan.head_dim),  # the heads as they were merged
            cores_in=self.flash.cores,
        )

    @property
    def caches(self) -> tuple[LayerCache, ...]:
        """The layer's caches, as many as :attr:`HeadPlan.cache_of_group` counts."""
        return self.flash.caches

    def decode(self, x: ttnn.Tensor, step: DecodeStep) -> ttnn.Tensor:
        """``[1, 1, B, D] -> [1, 1, B, D]`` partial sums, width-sharded in L1; writes to the cache; frees its input."""
        fused = self.sum_columns(self.qkv.decode(x))  # [1, 1, B, (H + 2K) E]
        ttnn.deallocate(x)
        merged = self.flash.decode(fused, step)  # [1, 1, B, H E]
        partial = self.out.decode(merged)  # [1, 1, B, D]
        ttnn.deallocate(merged)
        return partial

    def prefill(self, x: ttnn.Tensor, chunk: PrefillChunk) -> ttnn.Tensor:
        """``[1, 1, S, D] -> [1, 1, S, D]`` partial sums in DRAM; writes to the cache; frees its input."""
        fused = self.sum_columns(self.qkv.prefill(x))  # [1, 1, S, (H + 2K) E]
        ttnn.deallocate(x)
        merged = self.flash.prefill(fused, chunk)  # [1, 1, S, H E]
        partial = self.out.prefill(merged)  # [1, 1, S, D]
        ttnn.deallocate(merged)
        return partial


def _fuse(plan: Plan, parts: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Put the rows of q, k and v, ``[heads * head_dim, ...]`` each, behind one another group by group."""
    spec, heads = plan.spec.attention, plan.heads

    def placed(part: torch.Tensor, source: Source) -> torch.Tensor:
        rows = arrange(part, source, spec.head_dim, plan.head_dim)
        return rows.reshape(heads.num_devices * heads.groups, -1, *rows.shape[1:])

    q, k = (interleave(part, spec.head_dim, plan.spec.rope.rotary_dim) for part in parts[:2])
    fused = [placed(q, heads.query), placed(k, heads.key_value), placed(parts[2], heads.key_value)]
    return torch.cat(fused, 1).flatten(0, 1)
