"""The paged key/value cache: fill, update, look up. Blocks are found through a page table of int32.

An entry of -1 is a page that nobody owns: nothing is written there (``paged_fill_cache``'s skip value).
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import torch

from ttfamily.errors import SimulatorError
from ttfamily.sim.formats import round_to
from ttfamily.sim.kernels import kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ttfamily.sim.tensor import Cell

# B users, S tokens, P pages a user, K key/value heads, T tokens a block, E head_dim


def gather_pages(cache: Cell, page_table: Cell, tokens: int) -> torch.Tensor:
    """Return the first ``tokens`` tokens of every user, ``[r, c, B, K, tokens, E]``.

    Pages that nobody owns come as block 0: the caller masks them by position.
    """
    blocks, pages = cache.read(), page_table.read().long()
    size = blocks.shape[-2]
    pages = pages[..., : max(1, -(-tokens // size))].clamp(min=0)
    if pages.shape[:2] == (1, 1):
        found = blocks[:, :, pages[0, 0]]  # [r, c, B, P, K, T, E]
    else:
        rows, cols = (max(blocks.shape[i], pages.shape[i]) for i in (0, 1))
        picked = [_local(blocks, r, c)[_local(pages, r, c)] for r, c in product(range(rows), range(cols))]
        found = torch.stack(picked).unflatten(0, (rows, cols))
    return found.transpose(3, 4).flatten(4, 5)[..., : max(1, tokens), :]


@kernel("experimental.paged_update_cache")
def paged_update_cache(
    cache: Cell, x: Cell, *, update_idxs_tensor: Cell, page_table: Cell, **unsupported: Any
) -> Cell:
    """Write one token of every user, ``[1, B, K, E]``, at its position; a user at -1 is skipped."""
    _refuse("paged_update_cache", unsupported)
    for blocks, new, position, pages in _devices(cache, x, update_idxs_tensor, page_table):
        users = (position >= 0).nonzero().flatten()
        where = position[users].long()
        block = pages[users, where // blocks.shape[-2]].long()
        if (block < 0).any():
            raise SimulatorError(
                "ttnn.experimental.paged_update_cache",
                got=f"positions {where[block < 0].tolist()} in pages that the page table marks as owned by nobody",
                expected="a page for every position written",
                fix="Give the slot a block before it decodes into it.",
            )
        blocks[block, :, where % blocks.shape[-2]] = round_to(new[0, users], cache.dtype).to(blocks.dtype)
    return cache


@kernel("experimental.paged_fill_cache")
def paged_fill_cache(cache: Cell, x: Cell, page_table: Cell, *, batch_idx: int = 0, **unsupported: Any) -> Cell:
    """Write a prompt, ``[1, K, S, E]``, into the pages of user ``batch_idx``; pages of -1 are skipped."""
    _refuse("paged_fill_cache", unsupported)
    for blocks, new, pages in _devices(cache, x, page_table):
        size = blocks.shape[-2]
        prompt = new[0].unflatten(1, (-1, size)).transpose(0, 1)  # [S / T, K, T, E]
        mine = pages[batch_idx, : prompt.shape[0]].long()
        blocks[mine[mine >= 0]] = prompt[mine >= 0].to(blocks.dtype)
    return cache


def _devices(*cells: Cell) -> Iterator[tuple[torch.Tensor, ...]]:
    """Every device's local tensors; the first is written to, so it must have its own copy on each."""
    values = [cell.read() for cell in cells]
    rows, cols = (max(v.shape[i] for v in values) for i in (0, 1))
    if values[0].shape[:2] != (rows, cols):
        full = values[0].expand(rows, cols, *values[0].shape[2:]).contiguous()
        cells[0].value, values[0] = full, full
    for r, c in product(range(rows), range(cols)):
        yield tuple(_local(v, r, c) for v in values)


def _local(value: torch.Tensor, row: int, col: int) -> torch.Tensor:
    return value[min(row, value.shape[0] - 1), min(col, value.shape[1] - 1)]


def _refuse(op: str, arguments: dict[str, Any]) -> None:
    given = {name: value for name, value in arguments.items() if value is not None}
    if given:
        raise SimulatorError(
            f"ttnn.experimental.{op}",
            got=f"arguments {sorted(given)}",
            expected="only those its kernel computes",
            fix="Add them to ttfamily/sim/kernels/cache.py.",
        )
