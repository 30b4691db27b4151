"""Heads, rotary embedding and flash attention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from ttfamily.errors import SimulatorError
from ttfamily.sim.kernels import kernel
from ttfamily.sim.kernels.cache import gather_pages

if TYPE_CHECKING:
    from ttfamily.sim.tensor import Cell

# B users, S tokens, H query heads, K key/value heads, E head_dim; r, c the mesh

TILE = 32


@kernel("experimental.nlp_create_qkv_heads")
def create_qkv_heads(
    x: Cell, *, num_heads: int, num_kv_heads: int, transpose_k_heads: bool = True
) -> tuple[torch.Tensor, ...]:
    """``[1, 1, S, (H + 2K) E] -> [1, H, S, E], [1, K, S, E], [1, K, S, E]``."""
    value = x.read()
    head_dim = value.shape[-1] // (num_heads + 2 * num_kv_heads)
    heads = value.unflatten(-1, (-1, head_dim)).squeeze(3).transpose(-2, -3)  # [r, c, 1, H + 2K, S, E]
    query, key, val = heads.split([num_heads, num_kv_heads, num_kv_heads], 3)
    return query, key.mT if transpose_k_heads else key, val


@kernel("experimental.nlp_create_qkv_heads_decode")
def create_qkv_heads_decode(
    x: Cell,
    *,
    num_heads: int,
    num_kv_heads: int,
    overlap_qk_coregrid: bool = True,  # noqa: ARG001
) -> tuple[torch.Tensor, ...]:
    """``[1, 1, B, (H + 2K) E] -> [1, B, H, E], [1, B, K, E], [1, B, K, E]``."""
    value = x.read()
    head_dim = value.shape[-1] // (num_heads + 2 * num_kv_heads)
    heads = value.squeeze(2).unflatten(-1, (-1, head_dim))  # [r, c, 1, B, H + 2K, E]
    query, key, val = heads.split([num_heads, num_kv_heads, num_kv_heads], 4)
    return query, key, val


@kernel("experimental.nlp_concat_heads")
def concat_heads(x: Cell) -> torch.Tensor:
    """``[1, H, S, E] -> [1, 1, S, H E]``."""
    return x.read().transpose(-2, -3).flatten(-2).unsqueeze(2)


@kernel("experimental.nlp_concat_heads_decode")
def concat_heads_decode(x: Cell, *, num_heads: int) -> torch.Tensor:
    """``[1, B, H, E] -> [1, 1, 32, H E]``; rows of users that are not there hold anything, here NaN."""
    value = x.read()[..., :num_heads, :].flatten(-2)  # [r, c, 1, B, H E]
    missing = value.new_full((*value.shape[:3], -value.shape[3] % TILE, value.shape[4]), float("nan"))
    return torch.cat([value, missing], 3).unsqueeze(2)


@kernel("experimental.rotary_embedding_llama")
def rotary_embedding_llama(x: Cell, cos: Cell, sin: Cell, trans_mat: Cell, *, is_decode_mode: bool) -> torch.Tensor:
    """``x cos + (x T) sin``, with T the 32 x 32 tile that swaps the two members of every pair.

    Prefill: x ``[1, H, S, E]``, cos ``[1, 1, S, E]``, T ``[1, 1, 32, 32]``. Decode: x ``[1, B, H, E]``,
    cos ``[1, B, 1, E]``, T ``[1, 1, 32 B, 32]``, one tile for every user's core.
    """
    value = x.read().float()
    tiles = trans_mat.read().float().unflatten(-2, (-1, TILE))[0, 0, 0, 0]  # [B | 1, 32, 32]
    tiles = tiles[:, None] if is_decode_mode else tiles[0]  # against [.., B, H, E / 32, 32] or [.., H, S, E / 32, 32]
    swapped = (value.unflatten(-1, (-1, TILE)) @ tiles).flatten(-2)
    turned: torch.Tensor = value * cos.read().float() + swapped * sin.read().float()
    return turned


@kernel("transformer.scaled_dot_product_attention")
def attention(
    query: Cell,
    key: Cell,
    val: Cell,
    *,
    is_causal: bool = True,
    scale: float | None = None,
    sliding_window_size: int | None = None,
) -> torch.Tensor:
    """Flash attention over a prompt: ``[1, H, S, E], [1, K, S, E], [1, K, S, E] -> [1, H, S, E]``."""
    _causal_only("scaled_dot_product_attention", is_causal=is_causal)
    q, k, v = query.read(), key.read(), val.read()
    positions = torch.arange(q.shape[-2])
    return _attend(q, k, v, _visible(positions[:, None], positions[None], sliding_window_size), scale)


@kernel("transformer.chunked_scaled_dot_product_attention")
def chunked_attention(
    query: Cell,
    key: Cell,
    val: Cell,
    page_table: Cell,
    chunk_start_idx: int,
    *,
    scale: float | None = None,
    sliding_window_size: int | None = None,
) -> torch.Tensor:
    """Flash attention of one chunk of a prompt, ``[1, H, S, E]``, over the paged cache up to its own end."""
    op = "ttnn.transformer.chunked_scaled_dot_product_attention"
    q = query.read()
    positions = chunk_start_idx + torch.arange(q.shape[-2])
    end = torch.full((1, 1, q.shape[2]), chunk_start_idx + q.shape[-2])
    start = torch.zeros_like(end)
    k, v = (gather_pages(op, cache, page_table, start, end) for cache in (key, val))  # [r, c, 1, K, T, E]
    allowed = _visible(positions[:, None], torch.arange(k.shape[-2])[None], sliding_window_size)
    return _attend(q, k, v, allowed, scale)


@kernel("transformer.paged_scaled_dot_product_attention_decode")
def paged_attention_decode(
    query: Cell,
    key: Cell,
    val: Cell,
    *,
    cur_pos_tensor: Cell,
    page_table_tensor: Cell,
    is_causal: bool = True,
    scale: float | None = None,
    sliding_window_size: int | None = None,
    program_config: Any = None,
) -> torch.Tensor:
    """Flash decode: ``[1, B, H, E]`` over the pages of each user up to its position.

    The kernel reads whole chunks, up to the end of the one that holds the position, and masks with an
    addition: a NaN behind the position spoils the user's output, there and here.

    A user at position -1 is skipped: its output buffer is never written. Here that is NaN, so that
    whoever reads it is found out.
    """
    _causal_only("paged_scaled_dot_product_attention_decode", is_causal=is_causal)
    op = "ttnn.transformer.paged_scaled_dot_product_attention_decode"
    q = query.read().squeeze(2).unsqueeze(-2)  # [r, c, B, H, 1, E]
    position = cur_pos_tensor.read().long()  # [r, c, B]
    chunk = getattr(program_config, "k_chunk_size", None) or TILE
    behind = position + 1  # 0 for a skipped user, of whom nothing is read
    end = -(-behind // chunk) * chunk
    window = position.max() + 1 if sliding_window_size is None else sliding_window_size
    first = (behind - window).clamp(min=0) // chunk * chunk
    k, v = (gather_pages(op, cache, page_table_tensor, first, end) for cache in (key, val))  # [.., B, K, T, E]
    allowed = _visible(position[..., None], torch.arange(k.shape[-2]), sliding_window_size)  # [r, c, B, T]
    allowed = allowed | (position < 0)[..., None]
    out = _attend(q, k, v, allowed[:, :, :, None, None], scale)  # [r, c, B, H, 1, E]
    out = out.masked_fill((position < 0)[..., None, None, None], float("nan"))
    return out.squeeze(-2).unsqueeze(2)


def _causal_only(op: str, *, is_causal: bool) -> None:
    if not is_causal:
        raise SimulatorError(
            f"ttnn.transformer.{op}",
            got="is_causal=False",
            expected="causal attention",
            fix="Add the mask to ttfamily/sim/kernels/attention.py, and its test.",
        )


def _visible(position: torch.Tensor, key_position: torch.Tensor, window: int | None) -> torch.Tensor:
    seen = key_position <= position
    return seen if window is None else seen & (key_position > position - window)


def _attend(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, allowed: torch.Tensor, scale: float | None
) -> torch.Tensor:
    """Attention with heads grouped over K, any number of batch dimensions in front; softmax in float32.

    :param allowed: ``[S, T]`` for all, or with as many dimensions as q for one mask a user.
    """
    dtype = torch.float32 if torch.float32 in (q.dtype, k.dtype) else torch.bfloat16
    lead = torch.broadcast_shapes(q.shape[:-3], k.shape[:-3])
    q, k, v = (t.to(dtype).expand(*lead, *t.shape[-3:]).flatten(0, -4) for t in (q, k, v))
    if allowed.dim() > 2:  # noqa: PLR2004  ([S, T] is the other case)
        allowed = allowed.expand(*lead, *allowed.shape[-3:]).flatten(0, -4)
    out: torch.Tensor = functional.scaled_dot_product_attention(
        q, k, v, allowed, scale=scale, enable_gqa=q.shape[-3] != k.shape[-3]
    ).unflatten(0, lead)
    return out
