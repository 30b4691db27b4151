"""Program configs of flash attention, computed as those of :mod:`ttfamily.core.layout.programs`."""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING

import ttnn

from ttfamily.core.layout.programs import ROTATION_TILES
from ttfamily.tiles import BF16_TILE_BYTES, TILE, tiles

if TYPE_CHECKING:
    from ttfamily.core.config.precision import Format
    from ttfamily.core.layout.programs import Programs

CHUNKS = (256, 128, 64, 32)  # tokens of keys, and of queries, that are taken at once
MOST_CORES = 16  # for a head
MASKS = 4  # tiles: of a window, and a page table


def prefill_flash(programs: Programs, length: int, head_dim: int) -> ttnn.SDPAProgramConfig:
    """The longest chunks that divide the length and fit in L1; those of one tile always do.

    :param length: padded, tokens.
    :param head_dim: padded, at most 256.
    """
    room = programs.prefill_room
    chunk = max(n for n in CHUNKS if length % n == 0 and (n == TILE or attention_buffers(n, head_dim) <= room))
    return _config(programs, chunk, chunk, MOST_CORES)


def attention_buffers(chunk: int, head_dim: int) -> int:
    """Bytes of a core's L1 that prefill's flash attention takes, as ttnn 0.81.1 allocates them: at the most."""
    high, wide = tiles(chunk), tiles(head_dim)
    heads = (8 * high + min(4, 2 * high)) * wide  # queries, keys and values, twice each, and outputs
    scores = high * (high + 5) + 5
    return (heads + scores + MASKS) * BF16_TILE_BYTES


def decode_flash(
    programs: Programs, who: str, *, keys: int, heads: int, head_dim: int, users: int, live_tiles: int
) -> ttnn.SDPAProgramConfig:
    """The longest steps over the keys, then the most cores for a head, that fit in L1.

    :param keys: tokens that the page table reaches.
    :param heads: query heads of one chip.
    :param live_tiles: tiles on a core that live tensors hold, other than queries and output.
    :raises LayoutError: if none fits.
    """
    high, wide = tiles(heads), tiles(head_dim)
    shards = 1 + -(-users // math.prod(programs.mesh.grid))
    resident = (high * wide * shards + live_tiles + ROTATION_TILES) * BF16_TILE_BYTES

    def needed(chunk: int, cores: int) -> int:
        partial = cores * (high * wide + 2 * high)  # of every core that works on the head, with its maximum and sum
        stepwise = tiles(chunk) * (4 * wide + 2 * high)  # keys and values, a step ahead; scores
        buffers = partial + stepwise + 6 * high * wide + 9 * high + 3
        return resident + buffers * BF16_TILE_BYTES

    for chunk, cores in product((n for n in CHUNKS if keys % n == 0), (MOST_CORES, 8, 4, 2, 1)):
        if needed(chunk, cores) <= programs.room:
            return _config(programs, TILE, chunk, cores)
    raise programs.too_large(who, f"{heads} heads of {head_dim} in flash decode", needed(TILE, 1))


def flash_kernel(cache: Format) -> ttnn.WormholeComputeKernelConfig:
    """The fidelity of both products, and sums in bfloat16, as ttnn has them without a config.

    ttnn's HiFi2 drops the last bit of queries and probabilities: where scores are large it is seen. So a bf16 cache,
    which is asked for where accuracy counts, has HiFi3 as bf16 weights do.

    :param cache: the format of keys and values.
    """
    fidelity = ttnn.MathFidelity.HiFi3 if cache == "bf16" else ttnn.MathFidelity.HiFi2
    return ttnn.WormholeComputeKernelConfig(
        math_fidelity=fidelity, math_approx_mode=True, fp32_dest_acc_en=False, packer_l1_acc=False
    )


def merge_fits(programs: Programs, width: int) -> bool:
    """Whether one core can merge heads of ``width`` elements together: it keeps them in two buffers."""
    return 2 * tiles(width) * BF16_TILE_BYTES <= programs.prefill_room


def _config(programs: Programs, query_chunk: int, key_chunk: int, cores_per_head: int) -> ttnn.SDPAProgramConfig:
    return ttnn.SDPAProgramConfig(
        compute_with_storage_grid_size=programs.mesh.grid,
        q_chunk_size=query_chunk,
        k_chunk_size=key_chunk,
        exp_approx_mode=False,  # its error would add up over a long sum
        max_cores_per_head_batch=cores_per_head,
    )
