"""Flash attention over the paged cache, from fused to merged heads: of one device, or of a group on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import torch
import ttnn

from ttfamily.core.config.precision import ttnn_dtype
from ttfamily.core.layout.flash_programs import decode_flash, flash_kernel, merge_fits, prefill_flash

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ttfamily.core.blocks.kv_cache import LayerCache
    from ttfamily.core.blocks.rope import Rotation
    from ttfamily.core.blocks.steps import DecodeStep, PrefillChunk
    from ttfamily.core.layout.plan import Plan
    from ttfamily.core.layout.programs import Programs

# B users, S tokens; H query heads, K key/value heads of the group, E head_dim (padded)

HEIGHT_SHARDED = ttnn.MemoryConfig(ttnn.TensorMemoryLayout.HEIGHT_SHARDED, ttnn.BufferType.L1)


class HeadNorm(Protocol):
    """What normalises every head, where a model does that: :class:`~ttfamily.core.blocks.head_norm.RmsHeadNorm`."""

    def decode(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, B, H, E] -> [1, B, H, E]``, a core a user; frees its input."""

    def prefill(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, H, S, E] -> [1, H, S, E]`` in DRAM; frees its input."""


class FlashAttention:
    """Cut fused heads apart, rotate, write to the cache, attend, merge.

    :param who: for messages.
    :param cache: of the keys and values.
    :param writes: whether they are this group's to write; else another group of the same heads does, before.
    :param norms: of queries and keys, or None.
    :param window: tokens that a query sees, or None for all.
    :param live_tiles: L1 tiles a core that other live tensors hold in decode: all but attention's own.
    """

    def __init__(
        self,
        plan: Plan,
        who: str,
        cache: LayerCache,
        *,
        writes: bool,
        norms: tuple[HeadNorm, HeadNorm] | None,
        window: int | None,
        live_tiles: int,
    ) -> None:
        heads, programs = plan.heads, plan.programs
        self.num_heads, self.users = heads.query_per_group, plan.users
        self.heads = {"num_heads": self.num_heads, "num_kv_heads": heads.key_value_per_group}
        self.cache, self.writes, self.norms = cache, writes, norms
        self.cache_dtype = ttnn_dtype(cache.format)
        # A window that reaches over everything is none. Chunked attention refuses a scale that float32 does
        # not hold exactly, as most head_dim**-0.5 are.
        self.arguments: dict[str, Any] = {
            "scale": torch.tensor(plan.spec.attention.scale, dtype=torch.float32).item(),
            "sliding_window_size": window if window is not None and window < plan.max_seq_len else None,
            "compute_kernel_config": flash_kernel(cache.format),
        }
        self.decode_flash = decode_flash(
            programs,
            who,
            keys=plan.pages * plan.block_size,
            heads=self.num_heads,
            head_dim=plan.head_dim,
            users=plan.users,
            live_tiles=live_tiles,
        )
        self.decode_context = programs.user_sharded(plan.users, self.num_heads, plan.head_dim)
        width, counts = self.num_heads * plan.head_dim, programs.core_counts()
        # As the op makes it, a core a head, where that is a rectangle of cores.
        self.cores = self.num_heads if self.num_heads in counts else programs.cores_of(width)
        self.decode_merged = programs.width_sharded(width, self.cores)
        self.prefill_flash = {length: prefill_flash(programs, length, plan.head_dim) for length in plan.prefill_lengths}
        self.merged_at_once, self.merge_heads = _merger(programs, self.num_heads, plan.head_dim)
        self.widths = (self.num_heads + 2 * heads.key_value_per_group) * plan.head_dim, self.num_heads * plan.head_dim

    def decode(self, fused: ttnn.Tensor, step: DecodeStep) -> ttnn.Tensor:
        """``[1, 1, B, (H + 2K) E] -> [1, 1, B, H E]``, width-sharded in L1; frees its input."""
        q, k, v = ttnn.experimental.nlp_create_qkv_heads_decode(fused, **self.heads, memory_config=HEIGHT_SHARDED)
        ttnn.deallocate(fused)
        if self.norms:
            q, k = self.norms[0].decode(q), self.norms[1].decode(k)
        query = _rotate(q, step.rotation, decode=True)  # [1, B, H, E]  L1, a core a user
        key = _rotate(k, step.rotation, decode=True)  # [1, B, K, E]
        if self.writes:
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
            **self.arguments,
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
        return ttnn.to_memory_config(rows, self.decode_merged)

    def prefill(self, fused: ttnn.Tensor, chunk: PrefillChunk) -> ttnn.Tensor:
        """``[1, 1, S, (H + 2K) E] -> [1, 1, S, H E]`` in DRAM; frees its input."""
        q, k, v = ttnn.experimental.nlp_create_qkv_heads(fused, **self.heads, transpose_k_heads=False)
        ttnn.deallocate(fused)
        if self.norms:
            q, k = self.norms[0].prefill(q), self.norms[1].prefill(k)
        query = _rotate(q, chunk.rotation, decode=False)  # [1, H, S, E]
        key = _rotate(k, chunk.rotation, decode=False)  # [1, K, S, E]
        if self.writes:
            self._fill(self.cache.keys, key, chunk)
            self._fill(self.cache.values, v, chunk)
        context = self._attend(query, key, v, chunk)  # [1, H, S, E]
        for tensor in (query, key, v):
            ttnn.deallocate(tensor)
        merged = self.merge_heads(context)  # [1, 1, S, H E]
        ttnn.deallocate(context)
        return merged

    def _attend(self, query: ttnn.Tensor, key: ttnn.Tensor, value: ttnn.Tensor, chunk: PrefillChunk) -> ttnn.Tensor:
        """Attend within the first chunk; a later one also sees what the cache has of the chunks before it."""
        arguments = {**self.arguments, "program_config": self.prefill_flash[chunk.length]}
        if chunk.start == 0:
            return ttnn.transformer.scaled_dot_product_attention(query, key, value, is_causal=True, **arguments)
        return ttnn.transformer.chunked_scaled_dot_product_attention(
            query,
            self.cache.keys,
            self.cache.values,
            chunk.read_pages,
            chunk_start_idx_tensor=chunk.start_index,
            **arguments,
        )

    def _fill(self, cache: ttnn.Tensor, x: ttnn.Tensor, chunk: PrefillChunk) -> None:
        stored = ttnn.typecast(x, self.cache_dtype)  # paged_fill_cache copies tiles as they are
        ttnn.experimental.paged_fill_cache(cache, stored, chunk.fill_pages, batch_idx=0)
        ttnn.deallocate(stored)

    @property
    def prefill_columns(self) -> int:
        """The fused heads and what they are taken apart to; rotated, attended and merged."""
        fused, queries = self.widths
        merging = 2 if self.merged_at_once else 4  # cut, merged in parts, joined
        return fused + max(fused, merging * queries)


class GroupedFlashAttention:
    """A device with more heads than decode's kernels hold: one group after the other, outputs side by side."""

    def __init__(self, plan: Plan, groups: Sequence[FlashAttention]) -> None:
        self.groups = groups
        width, programs = len(groups) * groups[0].num_heads * plan.head_dim, plan.programs
        self.cores = programs.cores_of(width)
        self.decode_merged = programs.width_sharded(width, self.cores)

    def decode(self, fused: ttnn.Tensor, step: DecodeStep) -> ttnn.Tensor:
        """``[1, 1, B, groups (H + 2K) E] -> [1, 1, B, groups H E]``; the groups meet in DRAM; frees its input."""
        whole = ttnn.to_memory_config(fused, ttnn.DRAM_MEMORY_CONFIG)
        ttnn.deallocate(fused)
        outputs = []
        for group, part in zip(self.groups, self._cut(whole), strict=True):
            merged = group.decode(part, step)
            outputs.append(ttnn.to_memory_config(merged, ttnn.DRAM_MEMORY_CONFIG))
            ttnn.deallocate(merged)
        return ttnn.to_memory_config(ttnn.concat(outputs, dim=3), self.decode_merged)

    def prefill(self, fused: ttnn.Tensor, chunk: PrefillChunk) -> ttnn.Tensor:
        """``[1, 1, S, groups (H + 2K) E] -> [1, 1, S, groups H E]`` in DRAM; frees its input."""
        parts = zip(self.groups, self._cut(fused), strict=True)
        return ttnn.concat([group.prefill(part, chunk) for group, part in parts], dim=3)

    @property
    def prefill_columns(self) -> int:
        """The fused heads beside their cuts; then the cuts that wait, outputs, and a group at work."""
        fused, queries = self.groups[0].widths
        count = len(self.groups)
        return max(2 * count * fused, count * (fused + queries) + self.groups[0].prefill_columns)

    def _cut(self, fused: ttnn.Tensor) -> list[ttnn.Tensor]:
        rows, width = fused.shape[2], fused.shape[3] // len(self.groups)
        starts = range(0, fused.shape[3], width)
        parts = [ttnn.slice(fused, (0, 0, 0, start), (1, 1, rows, start + width)) for start in starts]
        ttnn.deallocate(fused)
        return parts


def flash_attention(
    plan: Plan,
    layer: int,
    caches: Sequence[LayerCache],
    norms: tuple[HeadNorm, HeadNorm] | None,
    *,
    live_tiles: int,
) -> FlashAttention | GroupedFlashAttention:
    """Make what stands between the projections of a layer.

    :param caches: of the layer, as many as :attr:`HeadPlan.cache_of_group` counts.
    :param norms: of queries and keys, or None.
    :param live_tiles: as for :class:`FlashAttention`.
    """
    of_group = plan.heads.cache_of_group
    groups = [
        FlashAttention(
            plan,
            f"layer {layer} attention",
            caches[cache],
            writes=cache not in of_group[:group],
            norms=norms,
            window=plan.spec.attention.window(layer),
            live_tiles=live_tiles,
        )
        for group, cache in enumerate(of_group)
    ]
    return groups[0] if len(groups) == 1 else GroupedFlashAttention(plan, groups)


def _rotate(x: ttnn.Tensor, rotation: Rotation, *, decode: bool) -> ttnn.Tensor:
    turned = ttnn.experimental.rotary_embedding_llama(
        x, rotation.cos, rotation.sin, rotation.swap, is_decode_mode=decode
    )
    ttnn.deallocate(x)
    return turned


def _merger(programs: Programs, heads: int, head_dim: int) -> tuple[bool, Callable[[ttnn.Tensor], ttnn.Tensor]]:
    """Return what makes ``[1, H, S, E]`` into ``[1, 1, S, H E]``, and whether it does so at once.

    The op keeps a tile row of all heads twice on a core, so very wide ones are merged in parts.
    """
    share = max(n for n in range(1, heads + 1) if heads % n == 0 and merge_fits(programs, n * head_dim))

    def merge(x: ttnn.Tensor) -> ttnn.Tensor:
        if share == heads:
            return ttnn.experimental.nlp_concat_heads(x)
        length = x.shape[2]
        cuts = [ttnn.slice(x, (0, i, 0, 0), (1, i + share, length, head_dim)) for i in range(0, heads, share)]
        return ttnn.concat([ttnn.experimental.nlp_concat_heads(cut) for cut in cuts], dim=3)

    return share == heads, merge
