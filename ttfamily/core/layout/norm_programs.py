"""Program configs of norms, and whether they fit in L1, computed as those of :mod:`ttfamily.core.layout.programs`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import ttnn

from ttfamily.core.layout.programs import ROTATION_TILES, ROW_TILES
from ttfamily.matmul_buffers import DEST_TILES
from ttfamily.tiles import BF16_TILE_BYTES, largest_divisor, tiles

if TYPE_CHECKING:
    from ttfamily.core.layout.programs import Programs

SMALL_TILES = 8  # statistics, the factor and epsilon of a sharded norm


def norm_fits(programs: Programs, width: int, kind: Literal["rms", "layer"]) -> bool:
    """Whether the sharded norm of a decode activation fits in L1: not where a wide one spreads over few cores."""
    # Shards of its own, and four more where additions leave gaps around the residual stream (on one chip, where
    # nothing is reduced, a layer norm has met three at the most).
    own = {"rms": 3, "layer": 6}[kind]
    gaps = 3 if kind == "layer" and not programs.mesh.has_collectives else 4
    needed = (own + gaps) * programs.shard_tiles(width) + SMALL_TILES + ROTATION_TILES
    return needed * BF16_TILE_BYTES <= programs.room


def norm_vectors_fit(
    programs: Programs, who: str, width: int, *, numbers: int, parts: int, vectors: int, live_tiles: int
) -> bool:
    """Whether the norm of an unsharded row by gathered statistics has room for its weight and bias.

    :param numbers: statistics of a row: 1 of an rms norm, 2 of a layer norm.
    :param parts: devices that the row is cut over.
    :param vectors: 2 with a bias, else 1.
    :param live_tiles: tiles on a core that live tensors hold.
    :raises LayoutError: if there is no room for the norm without them either.
    """

    def needed(buffers: int) -> int:
        return (buffers + live_tiles) * BF16_TILE_BYTES

    statistics = needed(4 * tiles(width) + numbers + 1)
    bare = (1 + numbers) * tiles(width) + numbers * parts + 3 * numbers + 1
    if max(statistics, needed(bare)) > programs.room:
        raise programs.too_large(who, f"a row of {width} in a norm over {parts} devices", statistics)
    return needed(bare + 2 * vectors * tiles(width)) <= programs.room


def decode_norm(programs: Programs, width: int) -> ttnn.LayerNormShardedMultiCoreProgramConfig:
    """Sharded norm of a decode activation over its most cores."""
    cores = programs.cores_of(width)
    block = tiles(width) // cores
    x = min(cores, programs.decode_grid[0])
    return ttnn.LayerNormShardedMultiCoreProgramConfig(
        compute_with_storage_grid_size=[x, cores // x],
        subblock_w=largest_divisor(block, DEST_TILES),
        block_h=ROW_TILES,
        block_w=block,
        inplace=False,
    )
