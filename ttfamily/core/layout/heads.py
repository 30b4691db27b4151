"""Which attention head lives on which device, where heads do not divide and where they do."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs
import torch

if TYPE_CHECKING:
    from ttfamily.arch import Arch

Source = tuple["int | None", ...]


# Of a group, in decode. nlp_concat_heads_decode has a core for each, and a Wormhole chip has 64. On Blackhole
# nlp_create_qkv_heads_decode gives keys and values buffers as high as the queries', and refuses more than one tile.
MAX_QUERY_HEADS: dict[Arch, int] = {"wormhole_b0": 64, "blackhole": 32}
MAX_KEY_VALUE_HEADS = 32  # of one cache: paged_update_cache has room for the rows of one tile


@attrs.frozen(kw_only=True)
class HeadPlan:
    """The heads of all devices in device order; ``None`` is a padding head, whose weights are zero.

    A device's heads are in one group, or in several where they are more than decode's kernels hold. Every
    group has as many query heads and as many key/value heads as every other, and its query heads fall into
    equal parts over its own key/value heads, as grouped-query attention wants them.

    :param query: the checkpoint's query head in each place.
    :param key_value: the checkpoint's key/value head in each place; a head that several groups
        need stands in several places.
    :param groups: on each device.
    """

    query: Source
    key_value: Source
    num_devices: int
    groups: int = 1

    @property
    def query_per_group(self) -> int:
        """Query heads of one group."""
        return len(self.query) // (self.num_devices * self.groups)

    @property
    def key_value_per_group(self) -> int:
        """Key/value heads of one group."""
        return len(self.key_value) // (self.num_devices * self.groups)

    @property
    def query_per_device(self) -> int:
        """Query heads on one device."""
        return self.query_per_group * self.groups

    @property
    def key_value_per_device(self) -> int:
        """Key/value heads that one device projects, those that its groups have in common counted each time."""
        return self.key_value_per_group * self.groups

    @property
    def fused_per_device(self) -> int:
        """Heads that one device projects in all: queries, keys and values."""
        return self.query_per_device + 2 * self.key_value_per_device

    @property
    def cached_per_device(self) -> int:
        """Key/value heads that one device caches."""
        return self.key_value_per_group * len(set(self.cache_of_group))

    @property
    def cache_of_group(self) -> tuple[int, ...]:
        """The cache that each of a device's groups reads, counted from 0: groups of the same heads share one."""
        held = [self._key_value_of(group) for group in range(self.groups)]
        distinct = list(dict.fromkeys(held))
        return tuple(distinct.index(heads) for heads in held)

    def places_of_cache(self, cache: int) -> dict[int, int]:
        """Where a cache, joined over the devices, has which of the checkpoint's key/value heads."""
        heads = self._key_value_of(self.cache_of_group.index(cache))
        return {head: place for place, head in enumerate(heads) if head is not None}

    def _key_value_of(self, group: int) -> Source:
        """The key/value heads of a group, on every device."""
        size = self.key_value_per_group
        starts = range(group * size, len(self.key_value), self.groups * size)
        return tuple(head for start in starts for head in self.key_value[start : start + size])


def plan_heads(
    num_attention_heads: int, num_key_value_heads: int, num_devices: int, arch: Arch = "wormhole_b0"
) -> HeadPlan:
    """Spread the heads evenly: pad key/value heads, or replicate them where there are fewer than groups.

    The query heads of a key/value head stay with it. Where it pays, a key/value head has copies in several
    groups and its query heads are cut over them (and padded to be cut evenly): whichever number of copies
    needs the fewest rows of weights, then the smallest cache.
    """
    groups = 1
    while True:
        plan = _in_groups(num_attention_heads, num_key_value_heads, num_devices, groups)
        if plan.query_per_group <= MAX_QUERY_HEADS[arch] and plan.key_value_per_group <= MAX_KEY_VALUE_HEADS:
            return plan
        groups += 1


def _in_groups(num_attention_heads: int, num_key_value_heads: int, num_devices: int, groups: int) -> HeadPlan:
    shared_by, total = num_attention_heads // num_key_value_heads, num_devices * groups

    def places(copies: int) -> int:
        unit = total // math.gcd(copies, total)
        return -(-num_key_value_heads // unit) * unit

    def cost(copies: int) -> tuple[int, int]:
        key_value = places(copies) * copies
        return key_value * (-(-shared_by // copies) + 1), key_value  # rows of weights, then cache

    copies = min(range(1, total + 1), key=cost)
    share = -(-shared_by // copies)  # query heads of one copy
    query: list[int | None] = []
    key_value: list[int | None] = []
    for head in range(places(copies)):
        for copy in range(copies):
            real = head < num_key_value_heads
            key_value.append(head if real else None)
            members = range(copy * share, (copy + 1) * share)
            query += [head * shared_by + m if real and m < shared_by else None for m in members]
    return HeadPlan(query=tuple(query), key_value=tuple(key_value), num_devices=num_devices, groups=groups)


def arrange(weight: torch.Tensor, source: Source, head_dim: int, padded_head_dim: int) -> torch.Tensor:
    """Put the heads of a weight's rows in place: ``[heads * head_dim, ...] -> [places * padded, ...]``.

    :param weight: rows are output features, head by head.
    :returns: zero rows for padding heads and for the padding of a head.
    """
    heads = weight.unflatten(0, (-1, head_dim))  # [heads, head_dim, ...]
    identity = source == tuple(range(heads.shape[0])) and head_dim == padded_head_dim
    if identity:
        return weight
    if head_dim != padded_head_dim:
        filler = heads.new_zeros(heads.shape[0], padded_head_dim - head_dim, *heads.shape[2:])
        heads = torch.cat([heads, filler], 1)
    zero = torch.zeros_like(heads[:1])
    padded = torch.cat([heads, zero])
    index = torch.tensor([len(heads) if head is None else head for head in source], device=heads.device)
    return padded[index].flatten(0, 1)
