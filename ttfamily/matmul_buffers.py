"""L1 that a matmul's own buffers take of a core, as ttnn 0.81.1 allocates them.

Compared with ttnn's own out-of-memory messages on the mock cluster (``tests/planning/test_core_memory.py``).
The core picks a matmul's blocking by these counts; a plan shows them.
"""

from __future__ import annotations

from ttfamily.tiles import BF16_TILE_BYTES, FP32_TILE_BYTES, largest_divisor

DEST_TILES = 4  # the destination registers hold four tiles of float32 sums


def decode_buffers(block: int, columns: int, tile_bytes: int, *, bias: bool = True) -> int:
    """Bytes of a core's L1 that a DRAM-sharded matmul's own buffers take.

    Input twice, weights thrice (a read ahead of a read ahead), output, sums, bias.
    The outputs are padded to as few parts of one width as the destination registers allow.

    :param block: tiles of the inner dimension that are multiplied at once.
    :param columns: tiles of the output that a bank's core makes.
    :param tile_bytes: of the weight.
    """
    widths = range(largest_divisor(columns, DEST_TILES), DEST_TILES + 1)
    parts, width = min((-(-columns // width), width) for width in widths)
    outputs = parts * width * (BF16_TILE_BYTES + FP32_TILE_BYTES + (BF16_TILE_BYTES if bias else 0))
    return 2 * block * BF16_TILE_BYTES + 3 * block * columns * tile_bytes + outputs


def prefill_buffers(rows: int, block: int, columns: int, tile_bytes: int, *, bias: bool = True) -> int:
    """Bytes of a core's L1 that a 2-D matmul's own buffers take: input and weights twice, output and sums, bias.

    :param rows: of tiles of the output that a core makes.
    :param block: as for :func:`decode_buffers`.
    """
    inputs = 2 * block * (rows * BF16_TILE_BYTES + columns * tile_bytes)
    outputs = rows * columns * (BF16_TILE_BYTES + FP32_TILE_BYTES)
    return inputs + outputs + (columns * BF16_TILE_BYTES if bias else 0)
