"""The paged key/value cache on the device; which blocks are whose is said by page tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ttfamily.core.blocks.block import Block
from ttfamily.core.blocks.parameter import Parameter
from ttfamily.core.mesh.placement import Sharding

if TYPE_CHECKING:
    from ttfamily.core.layout.plan import Plan
    from ttfamily.core.weights.weights import Weights

CACHE = "kv_cache"  # the slot of keys and values
SKIP = -1  # paged_fill_cache writes nothing to such a page
# Flash attention reads whole chunks, so it touches pages after a user's last one, and masks them. Those name this
# block: it exists, holds zeros, and nobody owns it.
SPARE = 0


class LayerCache(Block):
    """Keys and values of one group of heads, each ``[blocks, key/value heads, block size, head_dim]``, zeroed.

    They start as zeros because flash decode masks with an addition: what lies after a user's
    position must at least be finite.
    """

    def __init__(self, plan: Plan, layer: int) -> None:
        mesh, heads = plan.mesh, plan.heads.key_value_per_group * plan.mesh.tensor_parallel
        self.format = plan.precision.of(layer).kv_cache
        self.tensors = tuple(
            Parameter(
                mesh=mesh,
                slot=CACHE,
                layer=layer,
                shape=(plan.num_blocks * mesh.replicas, heads, plan.block_size, plan.head_dim),
                format=self.format,
                sharding=Sharding(tensor=1, data=0),
            )
            for _ in ("keys", "values")
        )

    def load(self, weights: Weights) -> None:  # noqa: ARG002 -- a cache begins empty
        """Make both."""
        for parameter in self.tensors:
            parameter.fill_with_zeros()
        self.keys, self.values = (parameter.tensor for parameter in self.tensors)
