"""Flash attention: over a prompt, over a chunk of one and the cache before it, and of one token a user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import torch

from ttfamily.errors import SimulatorError
from ttfamily.sim.fidelity import Engine
from ttfamily.sim.flash import Flash
from ttfamily.sim.ops.cache import gather_pages, token_tiles
from ttfamily.sim.row import moved, no_products, op
from ttfamily.sim.tensor import same_everywhere
from ttfamily.tiles import TILE

if TYPE_CHECKING:
    from ttfamily.sim.facts import Op
    from ttfamily.sim.mock_mesh import Numerics
    from ttfamily.sim.row import DecodePoint, Moved
    from ttfamily.sim.tensor import Cell

# B users, S tokens, H query heads, K key/value heads, E head_dim; r, c the mesh


# ---- prefill


def _seen(call: Op, keys: int) -> tuple[int, float]:
    """Return how many chunks of queries all heads have, and how many keys such a chunk sees on average."""
    heads, rows, _ = call.input(0).shape[1:]
    chunk = min(call.configured("q_chunk_size"), rows)
    return heads * -(-rows // chunk), keys - rows + (rows + chunk) / 2


def _prefill_moves(call: Op, keys: int, head: float) -> Moved:
    """Every chunk of queries of every head reads the keys and values up to itself.

    :param keys: that there are.
    :param head: bytes of all keys of one head.
    """
    chunks, seen = _seen(call, keys)
    size = round(chunks * head * seen / keys)
    return moved(call, read={"1": size, "2": size})


def _prefill_products(call: Op, keys: int) -> float:
    """Scores, and their product with the values; chunks of queries are shared out over the cores."""
    rows, width = call.input(0).shape[2:]
    chunks, seen = _seen(call, keys)
    one = 2 * (min(call.configured("q_chunk_size"), rows) / TILE) * (seen / TILE) * (width / TILE)
    return -(-chunks // call.configured("cores")) * one


def _prompt_keys(call: Op) -> int:
    return call.input(1).shape[2]


def _prompt_moves(call: Op, _point: DecodePoint) -> Moved:
    keys = call.input(1)
    return _prefill_moves(call, _prompt_keys(call), keys.bytes / keys.shape[1])


@op(
    "transformer.scaled_dot_product_attention",
    moves=_prompt_moves,
    multiplies=lambda call: _prefill_products(call, _prompt_keys(call)),
)
def attention(
    query: Cell,
    key: Cell,
    val: Cell,
    *,
    is_causal: bool = True,
    scale: float | None = None,
    sliding_window_size: int | None = None,
    program_config: Any = None,
    compute_kernel_config: Any = None,
    numerics: Numerics = "fast",
) -> torch.Tensor:
    """Flash attention over a prompt: ``[1, H, S, E], [1, K, S, E], [1, K, S, E] -> [1, H, S, E]``."""
    _causal_only("scaled_dot_product_attention", is_causal=is_causal)
    q, k, v = query.read(), key.read(), val.read()
    positions = torch.arange(q.shape[-2])
    allowed = _visible(positions[:, None], positions[None], sliding_window_size)
    settings = Settings(program_config, compute_kernel_config, numerics)
    return _attend((query, key, val), (q, k, v), allowed, scale, settings)


def _cached_keys(call: Op) -> int:
    """The chunk's own, and those before it: up to where the page table ends, if its start is a number."""
    start = call.settings.get("chunk_start_idx_tensor")
    if start is None:
        return call.input(3).shape[-1] * call.input(1).shape[2]
    return int(start) + call.input(0).shape[2]


def _chunk_moves(call: Op, _point: DecodePoint) -> Moved:
    keys, cache = _cached_keys(call), call.input(1)
    return _prefill_moves(call, keys, token_tiles(cache) / cache.shape[1] * keys / TILE)


@op(
    "transformer.chunked_scaled_dot_product_attention",
    moves=_chunk_moves,
    multiplies=lambda call: _prefill_products(call, _cached_keys(call)),
)
def chunked_attention(
    query: Cell,
    key: Cell,
    val: Cell,
    page_table: Cell,
    chunk_start_idx: int | None = None,
    *,
    chunk_start_idx_tensor: Cell | None = None,
    scale: float | None = None,
    sliding_window_size: int | None = None,
    program_config: Any = None,
    compute_kernel_config: Any = None,
    numerics: Numerics = "fast",
) -> torch.Tensor:
    """Flash attention of one chunk of a prompt, ``[1, H, S, E]``, over the paged cache up to its own end.

    :param chunk_start_idx_tensor: ``[1]``, in place of ``chunk_start_idx``.
    """
    op = "ttnn.transformer.chunked_scaled_dot_product_attention"
    q = query.read()
    if chunk_start_idx_tensor is not None:
        chunk_start_idx = int(same_everywhere(chunk_start_idx_tensor))
    if chunk_start_idx is None:  # as ttnn has it
        raise ValueError("neither chunk_start_idx nor chunk_start_idx_tensor is given")
    positions = chunk_start_idx + torch.arange(q.shape[-2])
    end = torch.full((1, 1, q.shape[2]), chunk_start_idx + q.shape[-2])
    start = torch.zeros_like(end)
    k, v = (gather_pages(op, cache, page_table, start, end) for cache in (key, val))  # [r, c, 1, K, T, E]
    allowed = _visible(positions[:, None], torch.arange(k.shape[-2])[None], sliding_window_size)
    settings = Settings(program_config, compute_kernel_config, numerics)
    return _attend((query, key, val), (q, k, v), allowed, scale, settings)


# ---- decode


def _decode_moves(call: Op, point: DecodePoint) -> Moved:
    """Whole chunks from the window's beginning, or the sequence's, to the position; needed are whole blocks."""
    chunk, window = call.configured("k_chunk_size"), call.settings.get("sliding_window_size")
    end = point.position + 1
    first = 0 if window is None else max(end - window, 0)

    def read(unit: int) -> dict[str, int]:
        tokens = -(-end // unit) * unit - first // unit * unit
        return {str(i): point.users * tokens // TILE * token_tiles(call.input(i)) for i in (1, 2)}

    return moved(call, read=read(chunk), needed=read(TILE))


# Its products are not counted: reading the cache takes longer than multiplying it by a few rows of queries.
@op("transformer.paged_scaled_dot_product_attention_decode", moves=_decode_moves, multiplies=no_products)
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
    compute_kernel_config: Any = None,
    numerics: Numerics = "fast",
) -> torch.Tensor:
    """Flash decode: ``[1, B, H, E]`` over the pages of each user up to its position.

    The kernel reads whole chunks, up to the end of the one that holds the position, and masks with an
    addition: a NaN after the position spoils the user's output, there and here.

    A user at position -1 is skipped: its output buffer is never written. Here reading it gives NaN.
    """
    _causal_only("paged_scaled_dot_product_attention_decode", is_causal=is_causal)
    op = "ttnn.transformer.paged_scaled_dot_product_attention_decode"
    q = query.read().squeeze(2).unsqueeze(-2)  # [r, c, B, H, 1, E]
    position = cur_pos_tensor.read().long()  # [r, c, B]
    chunk = getattr(program_config, "k_chunk_size", None) or TILE
    tokens = position + 1  # 0 for a skipped user, of whom nothing is read
    end = -(-tokens // chunk) * chunk
    window = position.max() + 1 if sliding_window_size is None else sliding_window_size
    first = (tokens - window).clamp(min=0) // chunk * chunk
    k, v = (gather_pages(op, cache, page_table_tensor, first, end) for cache in (key, val))  # [.., B, K, T, E]
    allowed = _visible(position[..., None], torch.arange(k.shape[-2]), sliding_window_size)  # [r, c, B, T]
    allowed = allowed | (position < 0)[..., None]
    settings = Settings(program_config, compute_kernel_config, numerics)
    out = _attend((query, key, val), (q, k, v), allowed[:, :, :, None, None], scale, settings)  # [r, c, B, H, 1, E]
    out = out.masked_fill((position < 0)[..., None, None, None], float("nan"))
    return out.squeeze(-2).unsqueeze(2)


@attrs.frozen
class Settings:
    """How a call computes: its program config, its compute kernel config, the mesh's numerics.

    Without a kernel config flash attention is HiFi2 with bfloat16 sums (tt-metal, ``sdpa.cpp``, ``sdpa_decode.cpp``).
    """

    program: Any
    config: Any
    numerics: Numerics


def _causal_only(op: str, *, is_causal: bool) -> None:
    if not is_causal:
        raise SimulatorError(
            f"ttnn.transformer.{op}",
            got="is_causal=False",
            expected="causal attention",
            fix="Add the mask to ttfamily/sim/ops/attention.py, and its test.",
        )


def _visible(position: torch.Tensor, key_position: torch.Tensor, window: int | None) -> torch.Tensor:
    seen = key_position <= position
    return seen if window is None else seen & (key_position > position - window)


def _attend(
    cells: tuple[Cell, Cell, Cell],
    values: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    allowed: torch.Tensor,
    scale: float | None,
    settings: Settings,
) -> torch.Tensor:
    """Attention with heads grouped over K, any number of batch dimensions in front.

    :param cells: queries, keys and values, for their formats.
    :param values: ``[..., H, S, E], [..., K, T, E], [..., K, T, E]``.
    :param allowed: ``[S, T]`` for all, or with as many dimensions as the queries for one mask a user.
    """
    q, k, v = values
    lead = torch.broadcast_shapes(q.shape[:-3], k.shape[:-3])
    heads, (tokens, keys) = k.shape[-3], (q.shape[-2], k.shape[-2])
    q, k, v = (t.expand(*lead, *t.shape[-3:]).flatten(0, -4) for t in (q, k, v))  # [B, heads, .., E]
    if allowed.dim() > 2:  # noqa: PLR2004  ([S, T] is the other case)
        allowed = allowed.expand(*lead, *allowed.shape[-3:]).flatten(0, -4).expand(-1, heads, -1, -1).flatten(0, 1)
    formats = (cells[0].dtype, cells[1].dtype, cells[2].dtype)
    flash = Flash(
        engine=Engine.of(settings.config, "HiFi2", formats[1]),
        formats=formats,
        scale=q.shape[-1] ** -0.5 if scale is None else scale,
        chunk=getattr(settings.program, "k_chunk_size", None) or TILE,
        numerics=settings.numerics,
    )
    grouped = q.unflatten(1, (heads, -1)).flatten(0, 1)  # [B * K, G, S, E]
    out = flash(grouped, k.flatten(0, 1), v.flatten(0, 1), allowed.reshape(-1, tokens, keys))
    by_head: torch.Tensor = out.unflatten(0, (-1, heads)).flatten(1, 2).unflatten(0, lead)
    return by_head
