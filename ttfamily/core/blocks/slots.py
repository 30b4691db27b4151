"""Which class stands in each slot of a decoder layer: the core's, or one that the family brings."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import attrs

from ttfamily.core.blocks.attention import Attention
from ttfamily.core.blocks.mlp import MLPS
from ttfamily.core.blocks.norm import Norm
from ttfamily.errors import PluginError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ttfamily.core.config.spec import ModelSpec


@attrs.frozen(kw_only=True)
class Blocks:
    """A class for each slot, built as the core's class of that slot is.

    Norms are made with ``(plan, weights, slot, layer)``, the other two with ``(plan, weights, layer)``. Each
    has ``decode(x)`` and ``prefill(x)``, attention with the step or the chunk as its second argument, and is
    the owner of what it is given, unless it is a norm. Attention and MLP return partial sums.
    """

    attention_norm: Any
    attention: Any
    mlp_norm: Any
    mlp: Any

    @classmethod
    def of(cls, spec: ModelSpec, own: Mapping[str, str]) -> Blocks:
        """Choose the core's classes by the spec, and put a family's own in their place.

        :param own: slot -> ``"module:Class"``, as in :class:`ttfamily.Family`.
        :raises PluginError: if a path leads to no class with ``prefill`` and ``decode``.
        """
        core = {
            "layer.attention_norm": Norm,
            "layer.attention": Attention,
            "layer.mlp_norm": Norm,
            "layer.mlp": MLPS[spec.mlp.kind],
        }
        chosen = core | {slot: _imported(slot, path) for slot, path in own.items()}
        return cls(**{slot.removeprefix("layer."): block for slot, block in chosen.items()})


def _imported(slot: str, path: str) -> type:
    module, _, name = path.partition(":")
    who, fix = f"block for {slot}", "Correct the path in the family's 'blocks'."
    expected = "'module:Class' of a class with prefill and decode"
    try:
        block = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise PluginError(who, got=f"{path!r} ({error})", expected=expected, fix=fix) from error
    missing = [method for method in ("prefill", "decode") if not callable(getattr(block, method, None))]
    if not isinstance(block, type) or missing:
        got = f"{path!r} without {' and '.join(missing)}" if missing else f"{path!r}, which is no class"
        raise PluginError(who, got=got, expected=expected, fix=fix)
    return block
