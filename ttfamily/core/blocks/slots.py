"""Which class stands in each slot of a decoder layer: the core's, or one that the family brings."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from ttfamily.core.blocks.attention import Attention
from ttfamily.core.blocks.block import Block
from ttfamily.core.blocks.mlp import MLPS
from ttfamily.core.blocks.norm import Norm
from ttfamily.errors import PluginError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import ttnn

    from ttfamily.core.blocks.ccl import Collective
    from ttfamily.core.blocks.kv_cache import LayerCache
    from ttfamily.core.blocks.parameter import Parameter
    from ttfamily.core.blocks.steps import DecodeStep, PrefillChunk
    from ttfamily.core.config.spec import ModelSpec
    from ttfamily.core.layout.plan import Plan
    from ttfamily.core.weights.weights import Weights

# B users, S tokens, D what a device has of the hidden size

BUILT_WITH = {"norm": ("plan", "slot", "layer"), "block": ("plan", "layer", "live_tiles")}


class Declares(Protocol):
    """What every block says of itself; :class:`~ttfamily.core.blocks.block.Block` has all of it."""

    def load(self, weights: Weights) -> None:
        """Fill the parameters."""

    def parameters(self) -> Iterator[Parameter]:
        """What it holds."""

    def collectives(self) -> Iterator[Collective]:
        """What the chips exchange for it."""

    @property
    def prefill_columns(self) -> int:
        """Columns of bf16 that it has in a chip's DRAM at the widest point of a prefill."""


class NormBlock(Declares, Protocol):
    """A norm of the residual stream. Its input stays the caller's."""

    def __init__(self, plan: Plan, slot: str, layer: int | None = None) -> None:
        """Build it."""

    def decode(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, 1, B, D] -> [1, 1, B, D]``: from ``plan.decode.memory`` to ``plan.decode.normed``."""

    def prefill(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, 1, S, D] -> [1, 1, S, D]`` in DRAM."""


class AttentionBlock(Declares, Protocol):
    """Attention: from the normed stream to partial sums. It frees its input."""

    caches: Sequence[LayerCache]

    def __init__(self, plan: Plan, layer: int, live_tiles: int) -> None:
        """Build it."""

    def decode(self, x: ttnn.Tensor, step: DecodeStep) -> ttnn.Tensor:
        """``[1, 1, B, D] -> [1, 1, B, D]``, to ``plan.decode.partial``."""

    def prefill(self, x: ttnn.Tensor, chunk: PrefillChunk) -> ttnn.Tensor:
        """``[1, 1, S, D] -> [1, 1, S, D]`` in DRAM."""


class MlpBlock(Declares, Protocol):
    """The feed-forward block: from the normed stream to partial sums. It frees its input."""

    def __init__(self, plan: Plan, layer: int, live_tiles: int) -> None:
        """Build it."""

    def decode(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, 1, B, D] -> [1, 1, B, D]``, to ``plan.decode.partial``."""

    def prefill(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, 1, S, D] -> [1, 1, S, D]`` in DRAM."""


@attrs.frozen(kw_only=True)
class LayerBlocks:
    """A class for each slot of a layer."""

    attention_norm: type[NormBlock]
    attention: type[AttentionBlock]
    mlp_norm: type[NormBlock]
    mlp: type[MlpBlock]

    @classmethod
    def of(cls, spec: ModelSpec, own: Mapping[str, str]) -> LayerBlocks:
        """Choose the core's classes by the spec, and put a family's own in their place.

        :param own: slot -> ``"module:Class"``, as in :class:`ttfamily.Family`.
        :raises PluginError: if a path leads to no block.
        """
        core: dict[str, Any] = {
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
    expected = "'module:Class' of a ttfamily.blocks.Block with prefill and decode"
    try:
        block = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        if "ttfamily.core" in str(error):
            fix = "Import blocks and what they are made of from ttfamily.blocks: paths within the core move."
        raise PluginError(who, got=f"{path!r} ({error})", expected=expected, fix=fix) from error
    if not isinstance(block, type):
        raise PluginError(who, got=f"{path!r}, which is no class", expected=expected, fix=fix)
    missing = [method for method in ("prefill", "decode") if not callable(getattr(block, method, None))]
    if missing:
        raise PluginError(who, got=f"{path!r} without {' and '.join(missing)}", expected=expected, fix=fix)
    if not issubclass(block, Block):
        fix = "Derive it from ttfamily.blocks.Block, or from the core's block of the slot."
        raise PluginError(who, got=f"{path!r}, which is no Block", expected=expected, fix=fix)
    _check_arguments(who, path, block, BUILT_WITH["norm" if slot.endswith("norm") else "block"])
    return block


def _check_arguments(who: str, path: str, block: type, names: tuple[str, ...]) -> None:
    parameters = inspect.signature(block).parameters
    try:
        inspect.signature(block).bind(*names)
        fits = "weights" not in parameters  # which blocks of contract 1 took in the place of another
    except TypeError:
        fits = False
    if not fits:
        raise PluginError(
            who,
            got=f"{path!r}, which is built with ({', '.join(parameters)})",
            expected=f"a class that is built with ({', '.join(names)}) and takes its weights in load(weights)",
            fix="Change its __init__; blocks of contract 1 took their weights there.",
        )
