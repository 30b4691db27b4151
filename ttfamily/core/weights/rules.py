"""From checkpoint tensors to the slots of the graph: the rules of a family, and who took what."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal, Protocol

import attrs

from ttfamily.errors import CheckpointError, PluginError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from ttfamily.core.config.spec import ModelSpec
    from ttfamily.core.weights.checkpoint import Checkpoint

Cut = Literal["column", "row", "replicated"]
Transform = Callable[["tuple[Tensor, ...]", "ModelSpec"], "tuple[Tensor, ...]"]

EMBEDDING, LM_HEAD = "embedding", "lm_head"
_CUTS = ("column", "row", "replicated")
_SHOWN = 8


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
            fix="Use column(), row() or replicated() to write a rule.",
        )


@attrs.frozen(kw_only=True)
class WeightRule:
    """Where a slot's weights stand in a checkpoint, and how they are cut over a mesh.

    :param modules: checkpoint module paths without ``.weight`` or ``.bias``; ``{layer}`` stands
        for the layer's number.
    :param cut: ``column`` cuts out_features, ``row`` cuts in_features, ``replicated`` cuts nothing.
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


def replicated(*modules: str, transform: Transform | None = None) -> WeightRule:
    """Keep these modules whole on every device."""
    return WeightRule(modules=modules, cut="replicated", transform=transform)


class HasWeights(Protocol):
    """What :class:`Weights` reads of a :class:`~ttfamily.family.Family`."""

    @property
    def name(self) -> str:
        """For messages."""

    def rules(self, spec: ModelSpec) -> Mapping[str, WeightRule]:
        """Slot -> rule."""

    @property
    def ignored(self) -> tuple[str, ...]:
        """The fnmatch patterns of tensors that carry no weight."""


@attrs.frozen(kw_only=True, eq=False)
class Weight:
    """The canonical parts of one slot, on the checkpoint's device, in the checkpoint's dtype.

    :param weight: each [out_features, in_features], or [features] for a norm.
    :param bias: each [out_features]; None where the slot has no bias.
    """

    weight: tuple[Tensor, ...]
    bias: tuple[Tensor, ...] | None = None


@attrs.frozen(kw_only=True)
class Taken:
    """What was taken of the checkpoint for one slot, whole and unpadded.

    :param layer: None for a slot that no layer has.
    :param elements: of the weights.
    :param biases: elements of the biases.
    """

    slot: str
    layer: int | None
    cut: Cut
    elements: int
    biases: int


class Weights:
    """Hands a checkpoint's tensors to the blocks, slot by slot, and knows what was left over.

    :param checkpoint: open; it is read tensor by tensor and stays the caller's to close.
    :param family: whose ``weights`` table and ``ignored`` patterns apply.
    :param spec: passed to transforms; ``tie_word_embeddings`` makes ``lm_head`` the embedding.
    :ivar taken: what was taken so far, in order.
    """

    def __init__(self, checkpoint: Checkpoint, family: HasWeights, spec: ModelSpec) -> None:
        self._checkpoint = checkpoint
        self._family = family
        self._rules = family.rules(spec)
        self._spec = spec
        self._used: set[str] = set()
        self.taken: list[Taken] = []

    @property
    def host_device(self) -> str:
        """Where the tensors come from: ``cpu``, or ``meta`` for shapes without data."""
        return self._checkpoint.device

    def take(
        self,
        slot: str,
        shapes: tuple[tuple[int, ...], ...],
        layer: int | None = None,
        *,
        bias: bool = False,
        cut: Cut | None = None,
    ) -> Weight:
        """Read one slot and bring it into its canonical parts.

        :param slot: for example ``layer.attention.qkv``.
        :param shapes: the shape each part of the weight must have; a part's bias must have the
            first of its dimensions.
        :param layer: the layer's number, for the slots of a layer.
        :param bias: whether the slot has biases.
        :param cut: how the block that asks cuts it over the mesh; None if that is all one to it.
        :raises CheckpointError: if a tensor is missing or a part has another shape.
        :raises PluginError: if the family has no rule for the slot, or cuts it otherwise than the block.
        """
        rule = self._rule(slot)
        if cut is not None and rule.cut != cut:
            raise PluginError(
                f"family {self._family.name}, slot {slot}",
                got=f"the cut {rule.cut!r}",
                expected=f"{cut!r}, which is how the block of this slot works",
                fix="Correct the rule in the family's 'weights' table.",
            )
        source = self._rule(EMBEDDING) if slot == LM_HEAD and self._spec.tie_word_embeddings else rule
        weight = self._parts(slot, source, "weight", shapes, layer)
        if source is not rule:
            self._check_tie(rule, source)
        biases = self._parts(slot, rule, "bias", tuple(s[:1] for s in shapes), layer) if bias else None
        elements, more = (sum(part.numel() for part in parts or ()) for parts in (weight, biases))
        self.taken.append(Taken(slot=slot, layer=layer, cut=rule.cut, elements=elements, biases=more))
        return Weight(weight=weight, bias=biases)

    def finish(self) -> None:
        """Check that every tensor of the checkpoint has been taken or is known to carry nothing.

        :raises CheckpointError: listing the tensors that no slot took.
        """
        ignored = list(self._family.ignored)
        if self._spec.tie_word_embeddings:
            ignored += [f"{module}.weight" for module in self._rule(LM_HEAD).modules]
        unused = sorted(
            name
            for name in self._checkpoint.names
            if name not in self._used and not any(fnmatchcase(name, pattern) for pattern in ignored)
        )
        if unused:
            more = f" and {len(unused) - _SHOWN} more" if len(unused) > _SHOWN else ""
            raise CheckpointError(
                self._checkpoint.source,
                got=f"{len(unused)} tensors that no part of the model takes: {', '.join(unused[:_SHOWN])}{more}",
                expected=f"only tensors of the {self._family.name} family, as config.json describes it",
                fix="Check that config.json belongs to these weights; a tensor that carries no weight "
                "belongs into the family's 'ignored' patterns.",
            )

    def _rule(self, slot: str) -> WeightRule:
        try:
            return self._rules[slot]
        except KeyError:
            raise PluginError(
                f"family {self._family.name}",
                got=f"no weight rule for the slot {slot!r}",
                expected=f"a rule beside {', '.join(sorted(self._rules))}",
                fix="Add the slot to the family's 'weights' table.",
            ) from None

    def _parts(
        self, slot: str, rule: WeightRule, kind: str, shapes: tuple[tuple[int, ...], ...], layer: int | None
    ) -> tuple[Tensor, ...]:
        names = tuple(f"{_in_layer(module, slot, layer)}.{kind}" for module in rule.modules)
        tensors = tuple(self._checkpoint.tensor(name) for name in names)
        self._used.update(names)
        labels = names
        if rule.transform is not None:
            tensors = self._transformed(slot, rule.transform, names, tensors)
            labels = tuple(f"part {i} of {slot} made from {', '.join(names)}" for i in range(len(tensors)))
        if len(tensors) != len(shapes):
            raise PluginError(
                f"family {self._family.name}, slot {slot}",
                got=f"{len(tensors)} tensors ({', '.join(names)})",
                expected=f"{len(shapes)} parts",
                fix="Name one module a part in the weight rule, or give it a transform that makes the parts.",
            )
        for label, tensor, shape in zip(labels, tensors, shapes, strict=True):
            if tuple(tensor.shape) != tuple(shape):
                raise CheckpointError(
                    label,
                    got=f"shape {list(tensor.shape)}",
                    expected=f"shape {list(shape)}",
                    fix=f"Check that config.json belongs to the weights in {self._checkpoint.source}.",
                )
        return tensors

    def _transformed(
        self, slot: str, transform: Transform, names: tuple[str, ...], tensors: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        try:
            return tuple(transform(tensors, self._spec))
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            # A transform reshapes, so tensors of the wrong shape fail inside it before any check here.
            got = ", ".join(f"{n} {list(t.shape)}" for n, t in zip(names, tensors, strict=True))
            raise CheckpointError(
                f"family {self._family.name}, slot {slot}",
                got=f"{got}, which the slot's transform cannot take ({error})",
                expected="tensors of the shapes that config.json implies",
                fix=f"Check that config.json belongs to the weights in {self._checkpoint.source}.",
            ) from error

    def _check_tie(self, own: WeightRule, embedding: WeightRule) -> None:
        """Refuse a head that is tied by the config and yet stands in the checkpoint with other values.

        Hugging Face unties such a head; taking the embedding without a word would answer differently.
        """
        name, other = f"{own.modules[0]}.weight", f"{embedding.modules[0]}.weight"
        if self.host_device == "meta" or name not in self._checkpoint.names:
            return
        if not self._checkpoint.tensor(name).equal(self._checkpoint.tensor(other)):
            raise CheckpointError(
                name,
                got=f"values that differ from {other}",
                expected="no such tensor, or the same values, since tie_word_embeddings is true",
                fix="Set tie_word_embeddings to false in config.json if the head has weights of its own.",
            )


def _in_layer(module: str, slot: str, layer: int | None) -> str:
    if ("{layer}" in module) != (layer is not None):
        raise PluginError(
            f"slot {slot}",
            got=f"module {module!r} and layer {layer}",
            expected="'{layer}' in the module path of a layer's slot, and only there",
            fix="Correct the module path in the family's 'weights' table.",
        )
    return module.replace("{layer}", str(layer))
