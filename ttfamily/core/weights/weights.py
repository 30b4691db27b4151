"""From checkpoint tensors to the slots of the graph: what a family's rules say, checked, and who took what."""

from __future__ import annotations

import logging
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Protocol

import attrs

from ttfamily.core.weights.blame import missing_tensor, unused_tensors
from ttfamily.core.weights.transforms import Source, Transforming
from ttfamily.core.weights.values import check_dtype, check_values
from ttfamily.errors import CheckpointError, PluginError, printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from ttfamily.core.config.spec import ModelSpec
    from ttfamily.core.weights.checkpoint import Checkpoint
    from ttfamily.core.weights.rules import Cut, WeightRule

log = logging.getLogger("ttfamily")

EMBEDDING, LM_HEAD = "embedding", "lm_head"

# Of the core's blocks. Which of them a model has, its spec says; a table may have rules for the others.
SLOTS = frozenset({
    EMBEDDING, "layer.attention_norm", "layer.attention.qkv", "layer.attention.q_norm", "layer.attention.k_norm",
    "layer.attention.out", "layer.mlp_norm", "layer.mlp.gate_up", "layer.mlp.up", "layer.mlp.down", "norm", LM_HEAD,
})  # fmt: skip


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
        self._asked: set[str] = set()

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
        :param cut: how the block that asks cuts it over the mesh; None accepts any cut. ``width`` accepts
            ``replicated`` too, as which families wrote it before there was ``width``.
        :raises CheckpointError: if a tensor is missing, is no floating-point tensor or holds what is no finite
            number, or a part has another shape.
        :raises PluginError: if the family has no rule for the slot, cuts it otherwise than the block, or
            transforms it into other parts.
        """
        rule = self._rule(slot)
        self._asked.add(slot)
        if cut is not None and rule.cut != cut and (cut, rule.cut) != ("width", "replicated"):
            raise PluginError(
                self._who(slot),
                got=f"the cut {rule.cut!r}",
                expected=f"{cut!r}, which is how the block of this slot works",
                fix="Correct the rule in the family's 'weights' table.",
            )
        tied = slot == LM_HEAD and self._spec.tie_word_embeddings
        # The head's own transform applies: what the embedding does to the tensor that they share is its own business.
        source = attrs.evolve(rule, modules=self._rule(EMBEDDING).modules) if tied else rule
        weight = self._parts(slot, source, "weight", shapes, layer)
        if tied:
            self._check_tie(rule, source)
        biases = self._parts(slot, rule, "bias", tuple(s[:1] for s in shapes), layer) if bias else None
        elements, more = (sum(part.numel() for part in parts or ()) for parts in (weight, biases))
        self.taken.append(Taken(slot=slot, layer=layer, cut=rule.cut, elements=elements, biases=more))
        return Weight(weight=weight, bias=biases)

    def finish(self) -> None:
        """Check that every tensor of the checkpoint has been taken or is known to carry nothing.

        A slot that no block asked for and that is none of the core's is logged: its name may be misspelt.

        :raises CheckpointError: listing the tensors that no slot took.
        """
        unasked = self._rules.keys() - self._asked
        for slot in sorted(unasked - SLOTS):
            near = get_close_matches(slot, self._asked | SLOTS, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            log.warning("%s: no block asks for this slot%s", printable(self._who(slot)), printable(hint))
        ignored = list(self._family.ignored)
        if self._spec.tie_word_embeddings:
            ignored += [f"{module}.weight" for module in self._rule(LM_HEAD).modules]
        unused = sorted(
            name
            for name in self._checkpoint.names
            if name not in self._used and not any(fnmatchcase(name, pattern) for pattern in ignored)
        )
        if unused:
            rules = {slot: self._rules[slot].modules for slot in unasked}
            raise unused_tensors(self._checkpoint, unused, rules, family=self._family.name)

    def _who(self, slot: str) -> str:
        return f"family {self._family.name}, slot {slot}"

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
        for name, module in zip(names, rule.modules, strict=True):
            if name not in self._checkpoint.names:
                raise missing_tensor(self._checkpoint, name, module, layer, who=self._who(slot))
            check_dtype(name, self._checkpoint.info(name).dtype)
        self._used.update(names)
        if rule.transform is None:
            if len(names) != len(shapes):
                raise PluginError(
                    self._who(slot),
                    got=f"{len(names)} tensors ({', '.join(names)})",
                    expected=f"{len(shapes)} parts",
                    fix="Name one module a part in the weight rule, or give it a transform that makes the parts.",
                )
            for name, shape in zip(names, shapes, strict=True):
                self._check_shape(name, self._checkpoint.info(name).shape, shape)
        sources = tuple(Source(name, self._checkpoint.tensor(name)) for name in names)
        if rule.transform is not None:
            return Transforming(
                transform=rule.transform, sources=sources, shapes=shapes,
                slot=slot, who=self._who(slot), folder=self._checkpoint.source,
            ).parts(self._spec)  # fmt: skip
        for source in sources:
            check_values(source.name, source.tensor)
        return tuple(source.tensor for source in sources)

    def _check_shape(self, name: str, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
        if shape != tuple(expected):
            raise CheckpointError(
                name,
                got=f"shape {list(shape)}",
                expected=f"shape {list(expected)}",
                fix=f"Check that config.json belongs to the weights in {self._checkpoint.source}.",
            )

    def _check_tie(self, own: WeightRule, embedding: WeightRule) -> None:
        """Refuse a head that is tied by the config and yet stands in the checkpoint with other values.

        Hugging Face unties such a head; taking the embedding without a word would answer differently.
        """
        name, other = f"{own.modules[0]}.weight", f"{embedding.modules[0]}.weight"
        if name not in self._checkpoint.names:
            return
        check_dtype(name, self._checkpoint.info(name).dtype)
        self._check_shape(name, self._checkpoint.info(name).shape, self._checkpoint.info(other).shape)
        if self.host_device == "meta":
            return
        head, table = self._checkpoint.tensor(name), self._checkpoint.tensor(other)
        check_values(name, head)
        if not head.to(table.dtype).equal(table):
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
