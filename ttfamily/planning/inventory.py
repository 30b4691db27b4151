"""What lies in DRAM when a model is loaded: every tensor that its blocks hold, by the block that holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import torch
import ttnn

from ttfamily.core.blocks.kv_cache import LayerCache
from ttfamily.core.config.spec import ModelSpec
from ttfamily.core.layout.plan import Plan
from ttfamily.core.mesh.mesh import Mesh
from ttfamily.sim.facts import TensorFacts, facts

if TYPE_CHECKING:
    from collections.abc import Iterator

CACHE = "kv_cache"
NOT_HELD = (Plan, Mesh, ModelSpec, torch.Tensor, str, bytes)
# Parts of a path that say how a block is made, not which it is.
_INNER = {
    *("layers", "parts", "linear", "in_decode", "in_prefill", "arguments", "behind"),
    *("weight", "bias", "table", "decode_bias", "prefill_bias"),
}
_DEPTH = 2


@attrs.frozen(kw_only=True)
class Held:
    """A tensor that stays in DRAM.

    :param path: of attributes from the transformer, ``layers.0.attention.qkv.weight``.
    :param group: its block without the layer, ``attention.qkv``; ``kv_cache`` for the cache.
    :param tensor: on one device.
    """

    path: str
    group: str
    tensor: TensorFacts


def held_tensors(transformer: object, banks: int) -> list[Held]:
    """Return every tensor in DRAM that an object holds, itself or through its parts, each buffer once.

    :param banks: DRAM banks of a chip.
    """
    found: dict[int | None, Held] = {}
    for path, in_cache, tensor in _walk(transformer, (), seen=set(), in_cache=False):
        one = facts(tensor, banks)
        if one.in_dram:
            group = CACHE if in_cache else _group(path)
            found.setdefault(one.buffer, Held(path=".".join(path), group=group, tensor=one))
    return list(found.values())


def _group(path: tuple[str, ...]) -> str:
    named = [part for part in path if not part.isdigit() and part not in _INNER]
    return ".".join(named[:_DEPTH]) if "layers" in path else named[0]


def _walk(
    value: Any, path: tuple[str, ...], *, seen: set[int], in_cache: bool
) -> Iterator[tuple[tuple[str, ...], bool, ttnn.Tensor]]:
    if isinstance(value, ttnn.Tensor):
        yield path, in_cache, value
        return
    if isinstance(value, NOT_HELD) or id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, dict):
        parts = {str(key): part for key, part in value.items()}
    elif isinstance(value, (list, tuple)):
        parts = {str(index): part for index, part in enumerate(value)}
    elif attrs.has(type(value)):
        parts = {field.name: getattr(value, field.name) for field in attrs.fields(type(value))}
    else:
        parts = getattr(value, "__dict__", {}) if not isinstance(value, type) else {}
    for name, part in parts.items():
        yield from _walk(part, (*path, name), seen=seen, in_cache=in_cache or isinstance(value, LayerCache))
