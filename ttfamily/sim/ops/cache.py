"""The paged key/value cache: fill, update, look up. Blocks are found through a page table of int32.

An entry of -1 is a page without an owner. ``paged_fill_cache`` skips it; the other kernels compute an address
from it, far outside the cache, which hangs the chip: here it is an error.
"""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING

import torch

from ttfamily.errors import SimulatorError
from ttfamily.sim.formats import round_to
from ttfamily.sim.row import moved, no_products, op
from ttfamily.tiles import TILE_ELEMENTS, tiles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ttfamily.sim.facts import Op, TensorFacts
    from ttfamily.sim.row import DecodePoint, Moved
    from ttfamily.sim.tensor import Cell

# B users, S tokens, P pages a user, K key/value heads, T tokens that are read, E head_dim; r, c the mesh

MAX_HEADS = 32
UNOWNED = -1


def gather_pages(op: str, cache: Cell, page_table: Cell, first: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
    """Return what a kernel reads of every user: tokens ``first`` to ``end``, ``[r, c, B]`` each.

    :returns: ``[r, c, B, K, T, E]`` from token 0 on, zeros where nothing is read.
    :raises SimulatorError: if a page that is read names no block, or the page table ends before.
    """
    blocks, pages = cache.read(), page_table.read().long()
    size = blocks.shape[-2]
    tokens = torch.arange(max(size, int(end.max())))
    read = (tokens >= first[..., None]) & (tokens < end[..., None])  # [r, c, B, T]
    starts = tokens[::size]
    pages = pages[..., : len(starts)]
    if pages.shape[-1] < len(starts):
        raise _no_block(op, f"{len(tokens)} tokens to read in {pages.shape[-1]} pages of {size}")
    needed = (starts + size > first[..., None]) & (starts < end[..., None])  # [r, c, B, P]
    _check_blocks(op, torch.where(needed, pages, 0), blocks)
    pages = pages.clamp(0, blocks.shape[2] - 1)
    if pages.shape[:2] == (1, 1):
        found = blocks[:, :, pages[0, 0]]  # [r, c, B, P, K, size, E]
    else:
        rows, cols = (max(blocks.shape[i], pages.shape[i]) for i in (0, 1))
        picked = [_local(blocks, r, c)[_local(pages, r, c)] for r, c in product(range(rows), range(cols))]
        found = torch.stack(picked).unflatten(0, (rows, cols))
    found = found.transpose(3, 4).flatten(4, 5)[..., : len(tokens), :]
    return found if read.all() else torch.where(read[:, :, :, None, :, None], found, 0)


def token_tiles(cache: TensorFacts) -> int:
    """Bytes of a row of tiles, 32 tokens of all heads, of a cache ``[blocks, heads, block size, head_dim]``."""
    _, heads, _, width = cache.shape
    return heads * tiles(width) * (cache.bytes * TILE_ELEMENTS // math.prod(cache.shape))


def _update_moves(call: Op, point: DecodePoint) -> Moved:
    """Every user's new token: the row of tiles that it is in is read, changed and written."""
    size = point.users * token_tiles(call.input(0))
    return moved(call, read={"0": size}, needed={"0": 0}, written=size)


@op("experimental.paged_update_cache", moves=_update_moves, multiplies=no_products)
def paged_update_cache(cache: Cell, x: Cell, *, update_idxs_tensor: Cell, page_table: Cell) -> Cell:
    """Write one token of every user, ``[1, B, K, E]``, at its position; a user at -1 is skipped."""
    op = "ttnn.experimental.paged_update_cache"
    heads = x.read().shape[-2]
    if heads > MAX_HEADS:  # the kernel has room for one row of tiles: the chip would read past it
        raise SimulatorError(
            op,
            got=f"{heads} key/value heads",
            expected=f"at most {MAX_HEADS}, the rows of one tile",
            fix="Spread the heads over more chips.",
        )
    for blocks, new, position, pages in _devices(cache, x, update_idxs_tensor, page_table):
        users = (position != UNOWNED).nonzero().flatten()
        where, size = position[users].long(), blocks.shape[-2]
        if ((where < 0) | (where >= pages.shape[1] * size)).any():
            raise _no_block(op, f"positions {where.tolist()} in {pages.shape[1]} pages of {size} tokens")
        block = pages[users, where // size].long()
        _check_blocks(op, block, blocks[None, None])
        blocks[block, :, where % size] = round_to(new[0, users], cache.dtype)
    return cache


def _fill_moves(call: Op, _point: DecodePoint) -> Moved:
    """A prompt's tokens are written; nothing is read of the cache."""
    return moved(call, read={"0": 0}, written=call.input(1).bytes)


@op("experimental.paged_fill_cache", moves=_fill_moves, multiplies=no_products)
def paged_fill_cache(cache: Cell, x: Cell, page_table: Cell, *, batch_idx: int = 0) -> Cell:
    """Write a prompt, ``[1, K, S, E]``, into the pages of user ``batch_idx``; pages of -1 are skipped."""
    op = "ttnn.experimental.paged_fill_cache"
    for blocks, new, table in _devices(cache, x, page_table):
        chunks = new[0].split(blocks.shape[-2], 1)  # [K, <= block_size, E] each: the last page may stay half full
        if not 0 <= batch_idx < table.shape[0] or len(chunks) > table.shape[1]:
            raise _no_block(op, f"row {batch_idx} and {len(chunks)} pages in a page table of {tuple(table.shape)}")
        pages = table[batch_idx, : len(chunks)].tolist()
        _check_blocks(op, torch.tensor([page for page in pages if page != UNOWNED]), blocks[None, None])
        for page, chunk in zip(pages, chunks, strict=True):
            if page != UNOWNED:
                blocks[page, :, : chunk.shape[1]] = chunk
    return cache


def _devices(*cells: Cell) -> Iterator[tuple[torch.Tensor, ...]]:
    """Every device's local tensors; the first is written to."""
    rows, cols = (max(cell.read().shape[i] for cell in cells) for i in (0, 1))
    values = [cells[0].own(rows, cols), *(cell.read() for cell in cells[1:])]
    for r, c in product(range(rows), range(cols)):
        yield tuple(_local(v, r, c) for v in values)


def _local(value: torch.Tensor, row: int, col: int) -> torch.Tensor:
    return value[min(row, value.shape[0] - 1), min(col, value.shape[1] - 1)]


def _check_blocks(op: str, pages: torch.Tensor, blocks: torch.Tensor) -> None:
    wrong = pages[(pages < 0) | (pages >= blocks.shape[2])]
    if len(wrong):
        raise _no_block(op, f"page table entries {sorted(set(wrong.tolist()))} where {blocks.shape[2]} blocks are")


def _no_block(op: str, got: str) -> SimulatorError:
    return SimulatorError(
        op,
        got=got,
        expected="a block of the cache for every page that the kernel touches",
        fix="Give the slot a block first; where the kernel reads ahead, name any block that exists.",
    )
