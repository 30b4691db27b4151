"""The paged key/value cache on the device; which blocks are whose is said by page tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ttnn

from ttfamily.core.config.precision import ttnn_dtype

if TYPE_CHECKING:
    from ttfamily.core.layout.plan import Plan

SKIP = -1  # paged_fill_cache writes nothing to such a page
# Flash attention reads whole chunks, so it touches pages after a user's last one, and masks them. Those name this
# block: it exists, holds zeros, and nobody owns it.
SPARE = 0


class LayerCache:
    """Keys and values of one group of heads, each ``[blocks, key/value heads, block size, head_dim]``, zeroed.

    They start as zeros because flash decode masks with an addition: what lies after a user's
    position must at least be finite.
    """

    def __init__(self, plan: Plan, layer: int) -> None:
        shape = [plan.num_blocks, plan.heads.key_value_per_group, plan.block_size, plan.head_dim]
        self.keys, self.values = (
            ttnn.zeros(
                shape,
                dtype=ttnn_dtype(plan.precision.of(layer).kv_cache),
                layout=ttnn.TILE_LAYOUT,
                device=plan.mesh.device,
                memory_config=ttnn.DRAM_MEMORY_CONFIG,
            )
            for _ in range(2)
        )
