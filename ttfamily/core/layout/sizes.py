"""Bytes of a chip's DRAM that a tensor takes, as ttnn's allocator counts them.

A tensor takes the same share of every bank, rounded up; one that is sharded over the banks is padded to whole
tiles in each.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import ttnn

from ttfamily.tiles import BF16_BYTES, TILE, TILE_BYTES, round_up, tiles

if TYPE_CHECKING:
    from ttfamily.core.config.precision import Format

ALIGNMENT = 32  # bytes, of a page in DRAM


def paged(pages: int, page_bytes: int, banks: int) -> int:
    """An interleaved tensor of so many pages, each in one bank."""
    return round_up(pages, banks) * round_up(page_bytes, ALIGNMENT)


def tiled(rows: int, width: int, banks: int, format_: Format = "bf16") -> int:
    """An interleaved tensor ``[rows, width]`` in tiles."""
    return paged(tiles(rows) * tiles(width), TILE_BYTES[format_], banks)


def dram_bytes(
    shape: tuple[int, ...], format_: Format, layout: ttnn.Layout, memory_config: ttnn.MemoryConfig, banks: int
) -> int:
    """A tensor of any layout; 0 if it is in L1.

    :param shape: of one device's part.
    :param format_: of its elements; row-major tensors are bf16.
    :param banks: DRAM banks of a chip.
    """
    if memory_config.buffer_type != ttnn.BufferType.DRAM:
        return 0
    if layout == ttnn.ROW_MAJOR_LAYOUT:
        return paged(math.prod(shape[:-1]), shape[-1] * BF16_BYTES, banks)
    shard = memory_config.shard_spec
    if shard is not None:  # with the tiles that fill up the last shards
        stored = int(shard.num_cores() * math.prod(shard.shape)) // TILE**2
        return stored * round_up(TILE_BYTES[format_], ALIGNMENT)
    *leading, rows, width = shape
    return paged(math.prod(leading) * tiles(rows) * tiles(width), TILE_BYTES[format_], banks)
