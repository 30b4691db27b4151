"""Which attention head lives on which device, where heads do not divide and where they do."""

from __future__ import annotations

import math

import attrs
import torch

Source = tuple["int | None", ...]


@attrs.frozen(kw_only=True)
class HeadPlan:
    """The heads of all devices in device order; ``None`` is a padding head, whose weights are zero.

    Every device has as many query heads and as many key/value heads as every other, and its query
    heads fall into equal groups over its own key/value heads, as grouped-query attention wants them.

    :param query: the checkpoint's query head in each place.
    :param key_value: the checkpoint's key/value head in each place; a head that several devices
        need stands in several places.
    """

    query: Source
    key_value: Source
    num_devices: int

    @property
    def query_per_device(self) -> int:
        """Query heads on one device."""
        return len(self.query) // self.num_devices

    @property
    def key_value_per_device(self) -> int:
        """Key/value heads on one device."""
        return len(self.key_value) // self.num_devices


def plan_heads(num_attention_heads: int, num_key_value_heads: int, num_devices: int) -> HeadPlan:
    """Spread the heads evenly: pad key/value heads, or replicate them where there are fewer than devices.

    A group of query heads stays with its key/value head. Where it pays, a key/value head has copies
    on several devices and its group is cut over them (and padded to be cut evenly): whichever number
    of copies needs the fewest rows of weights, then the smallest cache.
    """
    group = num_attention_heads // num_key_value_heads

    def places(copies: int) -> int:
        unit = num_devices // math.gcd(copies, num_devices)
        return -(-num_key_value_heads // unit) * unit

    def cost(copies: int) -> tuple[int, int]:
        key_value = places(copies) * copies
        return key_value * (-(-group // copies) + 1), key_value  # rows of weights, then cache

    copies = min(range(1, num_devices + 1), key=cost)
    share = -(-group // copies)  # query heads of one copy
    query: list[int | None] = []
    key_value: list[int | None] = []
    for head in range(places(copies)):
        for copy in range(copies):
            real = head < num_key_value_heads
            key_value.append(head if real else None)
            members = range(copy * share, (copy + 1) * share)
            query += [head * group + m if real and m < group else None for m in members]
    return HeadPlan(query=tuple(query), key_value=tuple(key_value), num_devices=num_devices)


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
