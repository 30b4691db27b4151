"""What the calls of others.py give, in float64: from an op's name to a function of the call's operands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as nn

if TYPE_CHECKING:
    from collections.abc import Callable

SHAPE = (1, 1, 32, 64)


def _with_rows(cache: torch.Tensor, new: torch.Tensor, place: tuple[Any, ...]) -> torch.Tensor:
    cache = cache.clone()
    cache[place] = new
    return cache


def _second_page(cache: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    """Rows 40 to 71 of two pages of 64: the end of the first and the beginning of the second."""
    cache = cache.clone()
    cache[0, :, 40:], cache[1, :, :8] = new[0, :, :24], new[0, :, 24:]
    return cache


def _updated(cache: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    """Row 5 of every user's cache is its row of the new ones."""
    return _with_rows(cache, new[0].transpose(0, 1), (slice(None), slice(None), 5))


def _users_softmax(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return (x / 32**0.5 + mask).softmax(-1)


ALONG = (-2, -1)
OTHER_FORMULAS: dict[str, Callable[..., Any]] = {
    "addalpha": lambda x, y: x + 0.5 * y,
    "subalpha": lambda x, y: x - 0.5 * y,
    "addcmul": lambda x, y, z: x + 2 * y * z,
    "addcdiv": lambda x, y, z: x + 2 * y / z,
    "lerp": lambda x, y: x + 0.25 * (y - x),
    "mac": lambda x, y, z: x * y + z,
    "where": lambda c, x, y: torch.where(c == 1, x, y),
    "polyval": lambda x: x**2 + 2 * x + 3,
    "outer": lambda x, y: x * y,
    "geglu": lambda x: x[..., :32] * nn.gelu(x[..., 32:]),
    "glu": lambda x: x[..., :32] * x[..., 32:].sigmoid(),
    "reglu": lambda x: x[..., :32] * x[..., 32:].relu(),
    "swiglu": lambda x: x[..., :32] * nn.silu(x[..., 32:]),
    "bitwise_not": lambda x: -1 - x,
    "logical_not_": lambda x: 1 - x,
    "dequantize": lambda q: (q - 3) * 0.05,
    "addcmul_bw": lambda g, _x, y, z: (g, 2 * g * z, 2 * g * y),
    "addalpha_bw": lambda g, _x, _y: (g, 0.5 * g),
    "subalpha_bw": lambda g, _x, _y: (g, -0.5 * g),
    "clamp_bw": lambda g, x: g * (x.abs() <= 1),
    "pow_bw": lambda g, x: 2 * g * x,
    "where_bw": lambda g, c, _x, _y: (g * c, g * (1 - c)),
    "threshold_bw": lambda g, x: g * (x > 0.5),
    "concat_bw": lambda g, _x, _y: (g[..., :64], g[..., 64:]),
    "argmax": lambda x: x.argmax(-1, keepdim=True),
    "max": lambda x: x.amax(-1, keepdim=True),
    "min": lambda x: x.amin(-2, keepdim=True),
    "mean": lambda x: x.mean(-1),
    "sum": lambda x: x.sum(ALONG, keepdim=True),
    "var": lambda x: x.var(-1, keepdim=True),
    "std": lambda x: x.std(-1, keepdim=True),
    "prod": lambda x: x.prod(3),
    "cumsum": lambda x: x.cumsum(-1),
    "var_hw": lambda x: x.var(ALONG, correction=0, keepdim=True),
    "std_hw": lambda x: x.std(ALONG, correction=0, keepdim=True),
    "cumprod": lambda x: x.cumprod(-1),
    "topk": lambda x: (x.sort(-1, descending=True).values[..., :16],),
    "sort": lambda x: (x.sort(-1, descending=True).values,),
    "assign": lambda x: x,
    "copy": lambda x, _y: x,
    "move": lambda x: x,
    "reallocate": lambda x: x,
    "chunk": lambda x: (x[..., :32], x[..., 32:]),
    "split": lambda x: (x[..., :32], x[..., 32:]),
    "squeeze": lambda x: x[0],
    "unsqueeze": lambda x: x[None],
    "stack": lambda x, y: torch.stack([x, y]),
    "narrow": lambda x: x[12:24],
    "view": lambda x: x.reshape(1, 2, 32, 64),
    "reshape_on_device": lambda x: x.reshape(1, 2, 32, 64),
    "expand": lambda x: x.expand(1, 4, 32, 64),
    "repeat": lambda x: x.repeat(1, 2, 1, 1),
    "repeat_interleave": lambda x: x.repeat(1, 2, 1, 1),
    "roll": lambda x: x.roll(3, 3),
    "pad": lambda x: nn.pad(x, (0, 0, 0, 32, 0, 1), value=1.5),
    "gather": lambda x, i: x.gather(3, i),
    "tosa_gather": lambda x, i: x[0, i[0]][None],
    "scatter": lambda x, i, y: x.scatter(3, i, y),
    "scatter_add": lambda x, i, y: x.scatter_add(3, i, y),
    "index_fill": lambda x: _with_rows(x, torch.tensor(2.5, dtype=x.dtype), (..., [3, 5, 9, 30])),
    "indexed_fill": lambda x, y: torch.stack([y[1], x[1], y[0], x[3]]),
    "tilize_with_val_padding": lambda x: x,
    "tilize_with_zero_padding": lambda x: x,
    "untilize_with_unpadding": lambda x: x[..., :30, :60],
    "fill_implicit_tile_padding": lambda x: x,
    "fill_cache": lambda c, n: _with_rows(c, n[0, :, :32], (1, slice(None), slice(0, 32))),
    "kv_cache.fill_cache_for_user_": lambda c, n: _with_rows(c, n[0, :, :32], (1, slice(None), slice(0, 32))),
    "update_cache": _updated,
    "kv_cache.update_cache_for_token_": _updated,
    "plus_one": lambda x: x + 1,
    "bcast": lambda x, y: x + y,
    "zeros_like": torch.zeros_like,
    "ones_like": torch.ones_like,
    "full_like": lambda x: torch.full_like(x, 2.5),
    "full": lambda: torch.full(SHAPE, 2.5),
    "ones": lambda: torch.ones(SHAPE),
    "arange": lambda: torch.arange(0, 64, 2),
    "moreh_full": lambda: torch.full(SHAPE, 2.5),
    "moreh_arange": lambda: torch.arange(0, 64, 2),
    "softmax": lambda x: x.softmax(-1),
    "softmax_in_place": lambda x: x.softmax(-1),
    "scale_mask_softmax": lambda x, m: (0.5 * x + m).softmax(-1),
    "scale_mask_softmax_in_place": lambda x, m: (0.5 * x + m).softmax(-1),
    "batch_norm": lambda x, m, v: (x - m) / (v + 1e-3).sqrt(),
    "addmm": lambda c, a, b: 2 * c + 0.5 * (a @ b),
    "normalize_hw": lambda x: (x - x.mean()) / x.std(correction=0),
    "transformer.attention_softmax": _users_softmax,
    "transformer.attention_softmax_": _users_softmax,
    "transformer.concatenate_heads": lambda x: x.transpose(1, 2).reshape(1, 32, 128),
    "experimental.broadcast_to": lambda x: x.expand(1, 3, 32, 64),
    "reshard": lambda x: x,
    "experimental.indexed_fused_update_cache": lambda c, n, e, m: (_second_page(c, n), _second_page(e, m)),
    "sparse_matmul": lambda x, w, b: (b.reshape(1, 1, 1, 4, 1, 1) != 0) * (x[:, :, None] @ w),
    "interleaved_to_sharded_partial": lambda x: x[..., 32:, :],
    "experimental.slice_write": lambda x, y: _with_rows(y, x, (..., slice(32, 64), slice(None))),
    "moreh_abs_pow": lambda x: x.square(),
    "moreh_bmm": torch.bmm,
    "moreh_cumsum": lambda x: x.cumsum(1),
    "moreh_bmm_backward": lambda g, a, b, _p, _q: (g @ b.mT, a.mT @ g),
    "moreh_dot": lambda x, y: (x * y).sum().reshape(1, 1, 1, 1),
    "moreh_getitem": lambda x: x[[2, 0]],
    "moreh_linear": lambda x, w: x @ w.T,
    "moreh_matmul": lambda x, y: x @ y.mT,
    "moreh_softmax": lambda x: x.softmax(3),
    "moreh_softmin": lambda x: (-x).softmax(3),
    "moreh_logsoftmax": lambda x: x.log_softmax(3),
    "moreh_sum": lambda x: x.sum(3, keepdim=True),
    "moreh_mean": lambda x: x.mean(3, keepdim=True),
    "moreh_norm": lambda x: x.norm(dim=3, keepdim=True),
    "moreh_sgd": lambda p, g: (p - 0.1 * g,),
    "upsample": lambda x: x.repeat_interleave(2, 1).repeat_interleave(2, 2),
    "moreh_clip_grad_norm": lambda x, y: torch.cat([x.flatten(), y.flatten()]).norm(),
}
"""Of a call in OTHER: its operands -> what it gives in float64 (of several results, the first ones)."""
