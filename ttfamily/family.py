"""``Family``: how the architectures of one graph shape are read from a config and filled from a checkpoint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from ttfamily.core.weights.rules import WeightRule
from ttfamily.errors import PluginError

if TYPE_CHECKING:
    from ttfamily.core.config.hf_config import HfConfig
    from ttfamily.core.config.spec import ModelSpec

WeightTable: TypeAlias = "Mapping[str, WeightRule] | Iterable[tuple[str, WeightRule]]"
BLOCK_SLOTS = ("layer.attention_norm", "layer.attention", "layer.mlp_norm", "layer.mlp")


def _wrong(family: object, field: str, got: str, expected: str) -> PluginError:
    return PluginError(
        f"Family {family!r}, {field}", got=got, expected=expected, fix="Correct the plugin that builds this family."
    )


def _strings(instance: Family, attribute: attrs.Attribute[Any], value: object) -> None:
    wrong = [item for item in value if not isinstance(item, str) or not item] if isinstance(value, tuple) else [value]
    if wrong:
        raise _wrong(instance.name, attribute.name, repr(wrong[0]), "a tuple of names")


def _read_only(blocks: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType(dict(blocks))


@attrs.frozen(kw_only=True)
class Family:
    """How the architectures of one graph shape are read from a config and filled from a checkpoint.

    :param name: short and lower case, for ``family=`` and for messages.
    :param architectures: the class names it stands for, as in config.json's ``architectures``.
    :param spec: makes a :class:`~ttfamily.core.config.spec.ModelSpec` from the config; it must take
        every key that matters to the graph, the rest is refused after it returns.
    :param weights: slot -> rule, as a mapping or as (slot, rule) pairs; this table is also the sharding
        plan. Where it depends on the config, a function of the spec that returns it.
    :param blocks: block classes of the family's own, slot of the decoder layer -> ``"module:Class"``. A
        path and not the class, so that listing the families imports no ttnn. The class is built and
        called as the core's block of that slot is: ``ttfamily.core.blocks.norm.Norm``,
        ``ttfamily.core.blocks.attention.Attention`` or ``ttfamily.core.blocks.mlp.GatedMlp``.
    :param ignored: fnmatch patterns of checkpoint tensors that carry no weight.
    :raises PluginError: naming the field that cannot be.
    """

    name: str = attrs.field()
    architectures: tuple[str, ...] = attrs.field(validator=_strings)
    spec: Callable[[HfConfig], ModelSpec] = attrs.field()
    weights: WeightTable | Callable[[ModelSpec], WeightTable] = attrs.field(hash=False)
    blocks: Mapping[str, str] = attrs.field(factory=dict, converter=_read_only, hash=False)
    ignored: tuple[str, ...] = attrs.field(default=(), validator=_strings)

    def __attrs_post_init__(self) -> None:
        if not callable(self.weights):
            object.__setattr__(self, "weights", self._checked(self.weights))

    def rules(self, spec: ModelSpec) -> Mapping[str, WeightRule]:
        """Return the weight table of a model: slot -> rule.

        :raises PluginError: if the family's function returns what is no table.
        """
        return self._checked(self.weights(spec) if callable(self.weights) else self.weights)

    def _checked(self, table: WeightTable) -> Mapping[str, WeightRule]:
        expected = "slot names mapped to column(), row(), width() or replicated() rules"
        rows = list(table.items() if isinstance(table, Mapping) else table)
        for row in rows:
            # As pairs the table may come from anywhere, so nothing about a row is taken for granted.
            if not isinstance(row, tuple) or [type(part) for part in row] != [str, WeightRule]:
                got = f"{row[0]!r}: {row[1]!r}" if isinstance(row, tuple) and row[1:] else repr(row)
                raise _wrong(self.name, "weights", got, expected)
        if not rows:
            raise _wrong(self.name, "weights", "no rule", expected)
        for what, names in (
            ("slot", [slot for slot, _ in rows]),
            ("module", [module for _, rule in rows for module in rule.modules]),
        ):
            twice = [name for name, times in Counter(names).items() if times > 1]
            if twice:
                slots = ", ".join(slot for slot, rule in rows if twice[0] in (slot, *rule.modules))
                got = f"the {what} {twice[0]!r} twice" + (f" (in {slots})" if what == "module" else "")
                raise _wrong(self.name, "weights", got, f"every {what} once")
        return MappingProxyType(dict(rows))

    @name.validator
    def _can_be_typed(self, _: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, str) or not value or ":" in value:
            raise _wrong(value, "name", repr(value), "a name without ':'")

    @architectures.validator
    def _names_one(self, _: attrs.Attribute[Any], value: tuple[str, ...]) -> None:
        if not value:
            raise _wrong(self.name, "architectures", "()", "at least one architecture")

    @spec.validator
    def _can_be_called(self, _: attrs.Attribute[Any], value: object) -> None:
        if not callable(value):
            raise _wrong(self.name, "spec", repr(value), "a function of one HfConfig")

    @blocks.validator
    def _are_paths_of_classes(self, _: attrs.Attribute[Any], value: Mapping[object, object]) -> None:
        for slot, path in value.items():
            module, _colon, name = path.partition(":") if isinstance(path, str) else ("", "", "")
            if slot not in BLOCK_SLOTS or not module or not name.isidentifier():
                expected = f'"module:Class" for one of {", ".join(BLOCK_SLOTS)}'
                raise _wrong(self.name, "blocks", f"{slot!r}: {path!r}", expected)
