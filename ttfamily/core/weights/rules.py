"""The rules of a family: where a slot's weights stand in a checkpoint, and how they are cut over a mesh."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import attrs

from ttfamily.errors import PluginError

if TYPE_CHECKING:
    from ttfamily.core.weights.transforms import Transform

Cut = Literal["column", "row", "width", "replicated"]

_CUTS = ("column", "row", "replicated", "width")


def _are_module_paths(_: WeightRule, __: attrs.Attribute[Any], modules: object) -> None:
    # A lone string would pass for a tuple of letters.
    paths = modules if isinstance(modules, tuple) else ()
    wrong = [path for path in paths if not isinstance(path, str) or not path or path.endswith((".weight", ".bias"))]
    if not paths or wrong:
        raise PluginError(
            "WeightRule.modules",
            got=", ".join(map(repr, wrong)) or repr(modules),
            expected="a tuple of checkpoint module paths such as 'model.layers.{layer}.mlp.up_proj'",
            fix="Name the module without '.weight' or '.bias'; the slot says which of them it reads.",
        )


def _is_a_cut(_: WeightRule, __: attrs.Attribute[Any], cut: str) -> None:
    if cut not in _CUTS:
        raise PluginError(
            "WeightRule.cut",
            got=repr(cut),
            expected=f"one of {', '.join(_CUTS)}",
            fix="Use column(), row(), width() or replicated() to write a rule.",
        )


@attrs.frozen(kw_only=True)
class WeightRule:
    """Where a slot's weights stand in a checkpoint, and how they are cut over a mesh.

    :param modules: checkpoint module paths without ``.weight`` or ``.bias``; ``{layer}`` stands
        for the layer's number.
    :param cut: ``column`` cuts out_features, ``row`` cuts in_features, ``width`` cuts the hidden size as the
        residual stream is cut, ``replicated`` cuts nothing.
    :param transform: brings the modules' tensors, in the order of ``modules``, into the slot's
        canonical parts, each [out_features, in_features]. It is called once with the weights and,
        where the slot has a bias, once more with the biases, each [out_features]. It must work on
        the meta device too. None if the tensors already are the parts.
    :raises PluginError: if a module is no module path or the cut is unknown.
    """

    modules: tuple[str, ...] = attrs.field(validator=_are_module_paths)
    cut: Cut = attrs.field(validator=_is_a_cut)
    transform: Transform | None = None


def column(*modules: str, transform: Transform | None = None) -> WeightRule:
    """Cut these modules by out_features: every device makes its own part of the output."""
    return WeightRule(modules=modules, cut="column", transform=transform)


def row(*modules: str, transform: Transform | None = None) -> WeightRule:
    """Cut these modules by in_features: every device makes a partial sum, then one collective."""
    return WeightRule(modules=modules, cut="row", transform=transform)


def width(*modules: str, transform: Transform | None = None) -> WeightRule:
    """Cut an embedding's columns or a norm's vectors as the residual stream's width is; whole where that is whole."""
    return WeightRule(modules=modules, cut="width", transform=transform)


def replicated(*modules: str, transform: Transform | None = None) -> WeightRule:
    """Keep these modules whole on every device."""
    return WeightRule(modules=modules, cut="replicated", transform=transform)
