"""Attention: fused QKV, rotary embedding, paged cache, flash attention, row-parallel output (tech report 2.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import ttnn

from ttfamily.core.ccl import reducer
from ttfamily.core.heads import arrange
from ttfamily.core.kv_cache import LayerCache
from ttfamily.core.linear import Linear, column_linear
from ttfamily.core.plan import BLOCK_SIZE
from ttfamily.core.precision import ttnn_dtype
from ttfamily.core.programs import merge_fits, tiles
from ttfamily.core.rope import interleave

if TYPE_CHECKING:
    from collections.abc import Callable

    from ttfamily.core.heads import Source
    from ttfamily.core.plan import Plan
    from ttfamily.core.rope import Rotation
    from ttfamily.core.steps import DecodeStep, PrefillChunk
    from ttfamily.core.weights import Weights

# B users, S tokens, D hidden_size; H query heads, K key/value heads on one device, E head_dim (padded)

HEIGHT_SHARDED = ttnn.MemoryConfig(ttnn.TensorMemoryLayout.HEIGHT_SHARDED, ttnn.BufferType.L1)


class Attention:
    """Grouped-query attention over the paged cache, heads cut over the devices."""

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
        self.num_heads = heads.query_per_device
        self.heads = {"num_heads": self.num_heads, "num_kv_heads": heads.key_value_per_device}
        cores = heads.query_per_device if heads.query_per_device in programs.core_counts() else None
        # Beside attention's own: the residual, and the hole of the fused heads.
        fused = (self.num_heads + 2 * heads.key_value_per_device) * plan.head_dim
        beside = plan.residual_tiles + programs.shard_tiles(fused)
        self.qkv = column_linear(
            plan,
            f"layer {layer} attention.qkv",
            _fuse(plan, qkv.weight),
            None if qkv.bias is None else _fuse(plan, qkv.bias),
            plan.precision.qkv,
            beside=plan.residual_tiles,
        )
        self.out = Linear(
            plan,
            f"layer {layer} attention.out",
            arrange(out.weight[0].T, heads.query, size, plan.head_dim).T,
            None if out.bias is None else out.bias[0],
            "row",
            plan.precision.out,
            beside=beside + tiles(plan.head_dim),  # the heads as they were merged
            cores_in=cores,
        )
        self.cache = LayerCache(plan)
        self.cache_dtype = ttnn_dtype(plan.precision.kv_cache)
        # Chunked attention refuses a scale that float32 does not hold exactly, as most head_dim**-0.5 are.
        self.scale = torch.tensor(spec.scale, dtype=torch.float32).item()
        self.users = plan.users
        local = heads.query_per_device * plan.head_dim
        self.decode_context = programs.user_sharded(self.users, heads.query_per_device, plan.head_dim)
        self.decode_merged = programs.width_sharded(local, cores or programs.cores_of(local))
        self.decode_flash = programs.decode_attention(
            f"layer {layer} attention",
            keys=plan.pages * BLOCK_SIZE,
            heads=self.num_heads,
            head_dim=plan.head_dim,
            users=plan.users,
            beside=beside,
        )
        self.prefill_flash = {length: programs.prefill_attention(length) for length in plan.prefill_lengths}
        self.decode_reduce = reducer(plan.mesh, programs.width_sharded(hidden, programs.cores_of(hidden)))
        self.prefill_reduce = reducer(plan.mesh, ttnn.DRAM_MEMORY_CONFIG)
        self.merge_heads = _merger(heads.query_per_device, plan.head_dim)

    def decode(self, x: ttnn.Tensor, step: DecodeStep) -> ttnn.Tensor:
        """``[1, 1, B, D] -> [1, 1, B, D]``, width-sharded in L1; writes keys and values; frees its input."""
        fused = self.qkv.decode(x)  # [1, 1, B, (H + 2K) E]
        ttnn.deallocate(x)
        q, k, v = ttnn.experimental.nlp_create_qkv_heads_decode(fused, **self.heads, memory_config=HEIGHT_SHARDED)
        ttnn.deallocate(fused)
        query = self._rotate(q, step.rotation, decode=True)  # [1, B, H, E]  L1, a core a user
        key = self._rotate(k, step.rotation, decode=True)  # [1, B, K, E]
        where = {"update_idxs_tensor": step.positions, "page_table": step.page_table}
        ttnn.experimental.paged_update_cache(self.cache.keys, key, **where)
        ttnn.experimental.paged_update_cache(self.cache.values, v, **where)
        ttnn.deallocate(key), ttnn.deallocate(v)
        context = ttnn.transformer.paged_scaled_dot_product_attention_decode(
            query,
            self.cache.keys,
            self.cache.values,
            cur_pos_tensor=step.positions,
            page_table_tensor=step.page_table,
            scale=self.scale,
            program_config=self.decode_flash,
            memory_config=ttnn.L1_MEMORY_CONFIG,
        )  # [1, B, H, E]
        ttnn.deallocate(query)
        by_user = ttnn.to_memory_config(context, self.decode_context)
        ttnn.deallocate(context)
        merged = ttnn.experimental.nlp_concat_heads_decode(by_user, num_heads=self.num_heads)  # [1, 1, 32, H E]
        ttnn.deallocate(by_user)
        width = merged.shape[3]
        rows = ttnn.reshape(merged, (1, 1, self.users, width), (1, 1, 32, width))  # [1, 1, B, H E]  the same buffer
        partial = self.out.decode(ttnn.to_memory_config(rows, self.decode_merged))  # [1, 1, B, D]  partial sums
        ttnn.deallocate(merged)
        return self.decode_reduce(partial)  # one collective

    def prefill(self, x: ttnn.Tensor, chunk: PrefillChunk) -> ttnn.Tensor:
        """``[1, 1, S, D] -> [1, 1, S, D]`` in DRAM; writes the slot's keys and values; frees its input."""
        fused = self.qkv.prefill(x)  # [1, 1, S, (H + 2K) E]
        ttnn.deallocate(x)
        q, k, v = ttnn.experimental.nlp_create_qkv_heads(fused, **self.heads, transpose_k_heads=False)
        ttnn.deallocate(fused)
        query = self._rotate(q, chunk.rotation, decode=False)  # [1, H, S, E]
        key = self._rotate(k, chunk.rotation, decode=False)  # [1, K, S, E]
        self._fill(self.cache.keys, key, chunk)
        self._fill(self.cache.values, v, chunk)
        context = self._attend(query, key, v, chunk)  # [1, H, S, E]
        for tensor in (query, key, v):
            ttnn.deallocate(tensor)
        merged = self.merge_heads(context)  # [1, 1, S, H E]
        ttnn.deallocate(context)
        partial = self.out.prefill(merged)  # [1, 1, S, D]  partial sums
        ttnn.deallocate(merged)
        return self.prefill_reduce(partial)  # one collective

    def _attend(self, query: ttnn.Tensor, key: ttnn.Tensor, value: ttnn.Tensor, chunk: PrefillChunk) -> ttnn.Tensor:
        """Attend within the first chunk; a later one also sees what the cache has of the chunks before it."""
        arguments = {"scale": self.scale, "program_config": self.prefill_flash[chunk.length]}
        if chunk.start == 0:
            return ttnn.transformer.scaled_dot_product_attention(query, key, value, is_causal=True, **arguments)
        return ttnn.transformer.chunked_scaled_dot_product_attention(
            query, self.cache.keys, self.cache.values, chunk.read_pages, chunk.start, **arguments
        )

    def _fill(self, cache: ttnn.Tensor, x: ttnn.Tensor, chunk: PrefillChunk) -> None:
        stored = ttnn.typecast(x, self.cache_dtype)  # paged_fill_cache copies tiles as they are
        ttnn.experimental.paged_fill_cache(cache, stored, chunk.fill_pages, batch_idx=0)
        ttnn.deallocate(stored)

    @staticmethod
    def _rotate(x: ttnn.Tensor, rotation: Rotation, *, decode: bool) -> ttnn.Tensor:
        turned = ttnn.experimental.rotary_embedding_llama(
            x, rotation.cos, rotation.sin, rotation.swap, is_decode_mode=decode
        )
        ttnn.deallocate(x)
        return turned


def _merger(heads: int, head_dim: int) -> Callable[[ttnn.Tensor], ttnn.Tensor]:
    """Return what makes ``[1, H, S, E]`` into ``[1, 1, S, H E]``.

    The op keeps a tile row of all heads twice on a core, so very wide ones are merged in parts.
    """
    share = max(n for n in range(1, heads + 1) if heads % n == 0 and merge_fits(n * head_dim))

    def merge(x: ttnn.Tensor) -> ttnn.Tensor:
        if share == heads:
            return ttnn.experimental.nlp_concat_heads(x)
        length = x.shape[2]
        cuts = [ttnn.slice(x, (0, i, 0, 0), (1, i + share, length, head_dim)) for i in range(0, heads, share)]
        return ttnn.concat([ttnn.experimental.nlp_concat_heads(cut) for cut in cuts], dim=3)

    return merge


def _fuse(plan: Plan, parts: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Put the rows of q, k and v, ``[heads * head_dim, ...]`` each, behind one another device by device."""
    spec, heads = plan.spec.attention, plan.heads

    def placed(part: torch.Tensor, source: Source) -> torch.Tensor:
        rows = arrange(part, source, spec.head_dim, plan.head_dim)
        return rows.reshape(heads.num_devices, -1, *rows.shape[1:])

    q, k = (interleave(part, spec.head_dim, plan.spec.rope.rotary_dim) for part in parts[:2])
    fused = [placed(q, heads.query), placed(k, heads.key_value), placed(parts[2], heads.key_value)]
    return torch.cat(fused, 1).flatten(0, 1)
