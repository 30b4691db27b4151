"""Heads, split off and merged, and rotary embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ttfamily.sim.row import no_products, once, op
from ttfamily.tiles import TILE

if TYPE_CHECKING:
    from ttfamily.sim.tensor import Cell

# B users, S tokens, H query heads, K key/value heads, E head_dim; r, c the mesh


@op("experimental.nlp_create_qkv_heads", moves=once, multiplies=no_products)
def create_qkv_heads(
    x: Cell, *, num_heads: int, num_kv_heads: int, transpose_k_heads: bool = True
) -> tuple[torch.Tensor, ...]:
    """``[1, 1, S, (H + 2K) E] -> [1, H, S, E], [1, K, S, E], [1, K, S, E]``."""
    value = x.read()
    head_dim = value.shape[-1] // (num_heads + 2 * num_kv_heads)
    heads = value.unflatten(-1, (-1, head_dim)).squeeze(3).transpose(-2, -3)  # [r, c, 1, H + 2K, S, E]
    query, key, val = heads.split([num_heads, num_kv_heads, num_kv_heads], 3)
    return query, key.mT if transpose_k_heads else key, val


@op("experimental.nlp_create_qkv_heads_decode", moves=once, multiplies=no_products)
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


@op("experimental.nlp_concat_heads", moves=once, multiplies=no_products)
def concat_heads(x: Cell) -> torch.Tensor:
    """``[1, H, S, E] -> [1, 1, S, H E]``."""
    return x.read().transpose(-2, -3).flatten(-2).unsqueeze(2)


@op("experimental.nlp_concat_heads_decode", moves=once, multiplies=no_products)
def concat_heads_decode(x: Cell, *, num_heads: int) -> torch.Tensor:
    """``[1, B, H, E] -> [1, 1, 32, H E]``; rows of users that are not there hold anything, here NaN."""
    value = x.read()[..., :num_heads, :].flatten(-2)  # [r, c, 1, B, H E]
    missing = value.new_full((*value.shape[:3], -value.shape[3] % TILE, value.shape[4]), float("nan"))
    return torch.cat([value, missing], 3).unsqueeze(2)


@op("experimental.rotary_embedding_llama", moves=once, multiplies=no_products)
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
