"""Attention: fused QKV, flash attention over the paged cache, row-parallel output (tech report 2.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import ttnn

from ttfamily.core.blocks.block import Block
from ttfamily.core.blocks.collectives import sum_columns
from ttfamily.core.blocks.flash import flash_attention
from ttfamily.core.blocks.head_norm import RmsHeadNorm
from ttfamily.core.blocks.kv_cache import LayerCache
from ttfamily.core.blocks.linear import Linear, column_linear
from ttfamily.core.blocks.rope import interleave
from ttfamily.core.layout.heads import arrange
from ttfamily.tiles import tiles

if TYPE_CHECKING:
    from ttfamily.core.blocks.steps import DecodeStep, PrefillChunk
    from ttfamily.core.layout.heads import Source
    from ttfamily.core.layout.plan import Plan
    from ttfamily.core.weights.weights import Weights

# B users, S tokens, D hidden_size; H query heads, K key/value heads on one device, E head_dim (padded)

QKV, OUT = "layer.attention.qkv", "layer.attention.out"


class Attention(Block):
    """Grouped-query attention, heads cut over the devices; what comes out are partial sums, for the layer to add up.

    :param live_tiles: L1 tiles a core that other live tensors hold while it decodes.
    :ivar caches: the layer's caches, as many as :attr:`HeadPlan.cache_of_group` counts.
    """

    def __init__(self, plan: Plan, layer: int, live_tiles: int) -> None:
        spec, heads, precision = plan.spec.attention, plan.heads, plan.precision.of(layer)
        self.plan, self.layer = plan, layer
        self.qkv = column_linear(
            plan,
            "attention.qkv",
            slot=QKV,
            layer=layer,
            in_features=plan.spec.hidden_size,
            out_features=plan.fused_width * plan.mesh.tensor_parallel,
            precision=precision.qkv,
            bias=spec.qkv_bias,
            live_tiles=live_tiles,
        )
        self.sum_columns = sum_columns(plan, plan.fused_width)
        self.head_norms = None
        if spec.qk_norm is not None:
            self.head_norms = (
                RmsHeadNorm(plan, "q_norm", layer, spec.qk_norm, heads.query_per_group),
                RmsHeadNorm(plan, "k_norm", layer, spec.qk_norm, heads.key_value_per_group),
            )
        self.caches = [LayerCache(plan, layer) for _ in set(heads.cache_of_group)]
        live_tiles += plan.programs.shard_tiles(plan.fused_width)  # the gap that the fused heads leave
        self.flash = flash_attention(plan, layer, self.caches, self.head_norms, live_tiles=live_tiles)
        self.out = Linear(
            plan,
            "attention.out",
            slot=OUT,
            layer=layer,
            in_features=plan.query_width * plan.mesh.tensor_parallel,
            out_features=plan.spec.hidden_size,
            cut="row",
            precision=precision.out,
            bias=spec.out_bias,
            live_tiles=live_tiles + tiles(plan.head_dim),  # the heads as they were merged
            cores_in=self.flash.cores,
        )

    def load(self, weights: Weights) -> None:
        """Take the projections, and make the cache."""
        spec, plan, hidden = self.plan.spec.attention, self.plan, self.plan.spec.hidden_size
        wide, narrow = spec.num_attention_heads * spec.head_dim, spec.num_key_value_heads * spec.head_dim
        shapes = ((wide, hidden), (narrow, hidden), (narrow, hidden))
        qkv = weights.take(QKV, shapes, self.layer, bias=spec.qkv_bias, cut="column")
        self.qkv.fill(fuse(plan, qkv.weight), None if qkv.bias is None else fuse(plan, qkv.bias))
        for part in (*(self.head_norms or ()), *self.caches):
            part.load(weights)
        out = weights.take(OUT, ((hidden, wide),), self.layer, bias=spec.out_bias, cut="row")
        columns = arrange(out.weight[0].T, plan.heads.query, spec.head_dim, plan.head_dim)
        self.out.fill(columns.T, None if out.bias is None else out.bias[0])

    def decode(self, x: ttnn.Tensor, step: DecodeStep) -> ttnn.Tensor:
        """``[1, 1, B, D] -> [1, 1, B, D]`` partial sums, width-sharded in L1; writes to the cache; frees its input."""
        fused = self.sum_columns.decode(self.qkv.decode(x))  # [1, 1, B, (H + 2K) E]
        ttnn.deallocate(x)
        merged = self.flash.decode(fused, step)  # [1, 1, B, H E]
        partial = self.out.decode(merged)  # [1, 1, B, D]
        ttnn.deallocate(merged)
        return partial

    def prefill(self, x: ttnn.Tensor, chunk: PrefillChunk) -> ttnn.Tensor:
        """``[1, 1, S, D] -> [1, 1, S, D]`` partial sums in DRAM; writes to the cache; frees its input."""
        fused = self.sum_columns.prefill(self.qkv.prefill(x))  # [1, 1, S, (H + 2K) E]
        ttnn.deallocate(x)
        merged = self.flash.prefill(fused, chunk)  # [1, 1, S, H E]
        partial = self.out.prefill(merged)  # [1, 1, S, D]
        ttnn.deallocate(merged)
        return partial

    @property
    def prefill_columns(self) -> int:
        """At the first projection, at its sum, between the heads, or at the last projection."""
        plan, read = self.plan, self.plan.prefill.read_width
        return max(
            read + self.qkv.prefill_columns,
            plan.partial_width + self.sum_columns.prefill.columns,
            read + self.flash.prefill_columns,  # the gap that the input leaves may be too narrow for the heads
            read + plan.query_width + plan.partial_width,
        )


def fuse(plan: Plan, parts: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Put the rows of q, k and v, ``[heads * head_dim, ...]`` each, one after another, group by group.

    :returns: ``[devices * (H + 2K) * E, ...]``: for each device, for each group of its heads, the queries, then the
        keys, then the values; heads padded to E rows, those of queries and keys as rotated pairs that are neighbours.
    """
    spec, heads = plan.spec.attention, plan.heads

    def placed(part: torch.Tensor, source: Source) -> torch.Tensor:
        rows = arrange(part, source, spec.head_dim, plan.head_dim)
        return rows.reshape(heads.num_devices * heads.groups, -1, *rows.shape[1:])

    q, k = (interleave(part, spec.head_dim, plan.spec.rope.rotary_dim) for part in parts[:2])
    fused = [placed(q, heads.query), placed(k, heads.key_value), placed(parts[2], heads.key_value)]
    return torch.cat(fused, 1).flatten(0, 1)
