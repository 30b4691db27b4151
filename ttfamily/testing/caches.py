"""Key/value caches on the host: to look a user's keys up in, and to write something else into them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import ttnn

from ttfamily.core.mesh.placement import Sharding, host_copy, read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ttfamily.core.blocks.kv_cache import LayerCache
    from ttfamily.core.layout.plan import Plan
    from ttfamily.model import Model

# E head_dim (padded)

BLOCKS_BY_REPLICA = Sharding(tensor=1, data=0)


class HostCache:
    """A layer's caches, read to the host once; users' keys and values are then looked up in them.

    :param caches: of one layer, ``attention.caches``.
    """

    def __init__(self, plan: Plan, caches: Sequence[LayerCache]) -> None:
        self._plan = plan
        # each [blocks of all replicas, heads of all devices, block size, E]
        self._keys = [read(plan.mesh, cache.keys, BLOCKS_BY_REPLICA) for cache in caches]
        self._values = [read(plan.mesh, cache.values, BLOCKS_BY_REPLICA) for cache in caches]

    def of(self, pages: torch.Tensor, tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return one user's keys and values in Hugging Face's order.

        :param pages: ``[P]`` int32, the user's row of the page table, its blocks counted over all replicas.
        :returns: each ``[key/value heads, tokens, head_dim]`` float32.
        """
        keys, values = (self._look_up(tensors, pages, tokens) for tensors in (self._keys, self._values))
        rotary = self._plan.spec.rope.rotary_dim
        turned, rest = keys[..., :rotary], keys[..., rotary:]  # the device keeps rotated pairs as neighbours
        return torch.cat([turned[..., 0::2], turned[..., 1::2], rest], -1), values

    def _look_up(self, tensors: list[torch.Tensor], pages: torch.Tensor, tokens: int) -> torch.Tensor:
        spec = self._plan.spec.attention
        found: dict[int, torch.Tensor] = {}
        for cache, tensor in enumerate(tensors):
            blocks = tensor[pages[: -(-tokens // self._plan.block_size)].long()]
            by_place = blocks.transpose(0, 1).flatten(1, 2)[:, :tokens, : spec.head_dim]
            # Copies of a head in several places are alike; the last one is read.
            for head, place in self._plan.heads.places_of_cache(cache).items():
                found[head] = by_place[place].float()
        return torch.stack([found[head] for head in range(spec.num_key_value_heads)])


def cache_tensors(model: Model) -> list[ttnn.Tensor]:
    """Keys and values of every layer, ``[blocks, heads, block size, E]`` each."""
    caches = [cache for layer in model.transformer.layers for cache in layer.attention.caches]
    return [tensor for cache in caches for tensor in (cache.keys, cache.values)]


def read_caches(model: Model) -> list[torch.Tensor]:
    """Read every cache, ``[blocks of all replicas, heads of all devices, block size, E]`` each."""
    return [read(model.mesh, tensor, BLOCKS_BY_REPLICA) for tensor in cache_tensors(model)]


def write_cache(model: Model, tensor: ttnn.Tensor, values: torch.Tensor) -> None:
    """Write values, as :func:`read_caches` has them, into one of :func:`cache_tensors`."""
    source = host_copy(model.mesh, values, dtype=tensor.dtype, layout=ttnn.TILE_LAYOUT, sharding=BLOCKS_BY_REPLICA)
    ttnn.copy_host_to_device_tensor(source, tensor)
