"""Which families are installed: found through entry points, asked through pluggy, looked up by architecture."""

from __future__ import annotations

import functools
import traceback
from importlib import metadata
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import attrs
import pluggy

from ttfamily import hookspecs
from ttfamily.core.weights import WeightRule
from ttfamily.errors import FamilyConflict, FamilyError, PluginError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ttfamily.core.hf_config import HfConfig
    from ttfamily.core.spec import ModelSpec

ENTRY_POINT_GROUP = "ttfamily"
HOOK = hookspecs.ttfamily_families.__name__


def _strings(instance: Family, attribute: attrs.Attribute[Any], value: object) -> None:
    wrong = [item for item in value if not isinstance(item, str) or not item] if isinstance(value, tuple) else [value]
    if wrong:
        raise _wrong_field(instance.name, attribute.name, repr(wrong[0]), "a tuple of names")


def _rules(instance: Family, _: attrs.Attribute[Any], value: Mapping[object, object]) -> None:
    wrong = [slot for slot, rule in value.items() if not isinstance(slot, str) or not isinstance(rule, WeightRule)]
    if wrong or not value:
        got = f"{wrong[0]!r}: {value[wrong[0]]!r}" if wrong else "no rule"
        raise _wrong_field(instance.name, "weights", got, "slot names mapped to column(), row() or replicated() rules")


def _wrong_field(family: object, field: str, got: str, expected: str) -> PluginError:
    return PluginError(
        f"Family {family!r}, {field}", got=got, expected=expected, fix="Correct the plugin that builds this family."
    )


def _read_only(table: Mapping[str, WeightRule]) -> Mapping[str, WeightRule]:
    return MappingProxyType(dict(table))


@attrs.frozen(kw_only=True)
class Family:
    """How the architectures of one graph shape are read from a config and filled from a checkpoint.

    :param name: short and lower case, for ``family=`` and for messages.
    :param architectures: the class names it stands for, as in config.json's ``architectures``.
    :param spec: makes a :class:`~ttfamily.core.spec.ModelSpec` from the config; it must take
        every key that matters to the graph, the rest is refused after it returns.
    :param weights: slot -> rule; this table is also the sharding plan.
    :param ignored: fnmatch patterns of checkpoint tensors that carry no weight.
    :raises PluginError: naming the field that cannot be.
    """

    name: str = attrs.field()
    architectures: tuple[str, ...] = attrs.field(validator=_strings)
    spec: Callable[[HfConfig], ModelSpec] = attrs.field()
    weights: Mapping[str, WeightRule] = attrs.field(converter=_read_only, validator=_rules, hash=False)
    ignored: tuple[str, ...] = attrs.field(default=(), validator=_strings)

    @name.validator
    def _can_be_typed(self, _: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, str) or not value or ":" in value:
            raise _wrong_field(value, "name", repr(value), "a name without ':'")

    @architectures.validator
    def _names_one(self, _: attrs.Attribute[Any], value: tuple[str, ...]) -> None:
        if not value:
            raise _wrong_field(self.name, "architectures", "()", "at least one architecture")

    @spec.validator
    def _can_be_called(self, _: attrs.Attribute[Any], value: object) -> None:
        if not callable(value):
            raise _wrong_field(self.name, "spec", repr(value), "a function of one HfConfig")


@attrs.frozen(kw_only=True)
class ProvidedFamily:
    """A family and where it came from.

    :param plugin: the entry point's name.
    :param package: the distribution that declares it.
    :param version: that distribution's version.
    """

    family: Family
    plugin: str
    package: str
    version: str

    @property
    def qualified_name(self) -> str:
        """``package:family``, which stays unique where two packages use one family name."""
        return f"{self.package}:{self.family.name}"


@attrs.frozen(kw_only=True)
class BrokenPlugin:
    """A plugin that could not be loaded; the others are there all the same.

    :param name: the entry point's name.
    :param package: the distribution that declares it.
    :param version: that distribution's version.
    :param traceback: the whole traceback, as Python prints it.
    """

    name: str
    package: str
    version: str
    traceback: str

    def __str__(self) -> str:
        """Name, package and the last line of the traceback."""
        last = self.traceback.strip().splitlines()[-1]
        return f"{self.name} ({self.package} {self.version}): {last}"


@attrs.frozen(kw_only=True)
class FamilyRegistry:
    """The installed families, and the plugins that could not be loaded.

    :param provided: in the order of package and entry-point names.
    :param broken: plugins whose import or hook failed.
    """

    provided: tuple[ProvidedFamily, ...]
    broken: tuple[BrokenPlugin, ...] = ()

    @property
    def families(self) -> tuple[Family, ...]:
        """Every family, without its origin."""
        return tuple(each.family for each in self.provided)

    @property
    def architectures(self) -> tuple[str, ...]:
        """Every known architecture, sorted, each once."""
        return tuple(sorted({name for family in self.families for name in family.architectures}))

    def for_architecture(self, name: str, family: str | None = None) -> Family:
        """Find the family of an architecture.

        :param name: the class name in config.json's ``architectures``.
        :param family: a family's name, or ``package:family``, to choose where several claim it.
        :raises FamilyError: if no family, or not this one, knows the architecture.
        :raises FamilyConflict: if several do and ``family`` does not decide.
        """
        claims = [each for each in self.provided if name in each.family.architectures]
        if family is not None:
            claims = [each for each in claims if family in (each.family.name, each.qualified_name)]
        if not claims:
            raise self._unknown(name, family)
        if len(claims) > 1:
            choices = " or ".join(f"family={each.qualified_name!r}" for each in claims)
            raise FamilyConflict(
                name,
                got="claims by " + " and ".join(f"{c.qualified_name} (version {c.version})" for c in claims),
                expected="one family",
                fix=f"Pass {choices}, or uninstall one of the packages.",
            )
        return claims[0].family

    def _unknown(self, name: str, family: str | None) -> FamilyError:
        known = ", ".join(self.architectures) or "none, for no family is installed"
        expected = f"one of the known architectures ({known})"
        if family is not None:
            lines = (f"{each.qualified_name} ({', '.join(each.family.architectures)})" for each in self.provided)
            expected = f"a family that provides it, out of {'; '.join(lines) or 'none'}"
        fix = "Install a plugin for it, or write one."
        if self.broken:
            fix += " These plugins could not be loaded: " + "; ".join(map(str, self.broken)) + "."
        got = "an unknown architecture" if family is None else f"family={family!r}"
        return FamilyError(name, got=got, expected=expected, fix=fix)


@functools.cache
def families() -> FamilyRegistry:
    """Return the installed families; the plugins are imported at the first call of a process.

    Opens no device and, as long as plugins keep to their contract, imports neither torch nor ttnn.
    """
    return discover()


def discover() -> FamilyRegistry:
    """Look for plugins anew: what :func:`families` does once."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    provided: list[ProvidedFamily] = []
    broken: list[BrokenPlugin] = []
    # Sorted, so that messages and listings do not depend on the order of sys.path.
    for entry in sorted(metadata.entry_points(group=ENTRY_POINT_GROUP), key=lambda e: (_origin(e), e.name)):
        package, version = _origin(entry)
        try:
            found = _families_of(entry, manager)
        # The one place where strangers' code runs: it may raise anything, even leave the
        # interpreter, and neither may take the other plugins down. Nothing is lost: the
        # traceback is kept and shown.
        except (Exception, SystemExit):  # noqa: BLE001
            broken.append(
                BrokenPlugin(name=entry.name, package=package, version=version, traceback=traceback.format_exc())
            )
        else:
            provided += [
                ProvidedFamily(family=each, plugin=entry.name, package=package, version=version) for each in found
            ]
    return FamilyRegistry(provided=tuple(provided), broken=tuple(broken))


def _origin(entry: metadata.EntryPoint) -> tuple[str, str]:
    return (entry.dist.name, entry.dist.version) if entry.dist is not None else ("unknown", "unknown")


def _families_of(entry: metadata.EntryPoint, manager: pluggy.PluginManager) -> list[Family]:
    plugin = entry.load()
    others = manager.get_plugins()
    manager.register(plugin, name=f"{_origin(entry)[0]}:{entry.name}")
    hooks = [caller.name for caller in manager.get_hookcallers(plugin) or ()]
    if hooks != [HOOK]:
        raise PluginError(
            f"plugin {entry.name} ({entry.value})",
            got=f"the hooks {', '.join(sorted(hooks)) or '(none)'}",
            expected=f"{HOOK}, marked with ttfamily.hookspecs.hookimpl",
            fix="Rename or mark the function, or update ttfamily if the hook is newer than it.",
        )
    # One plugin at a time: a hook that raises must not hide the families of the others.
    ask = manager.subset_hook_caller(HOOK, others)
    answers: list[Iterable[Family]] = ask()
    found = [each for answer in answers for each in answer]
    wrong = [repr(each) for each in found if not isinstance(each, Family)]
    if wrong or not found:
        raise PluginError(
            f"plugin {entry.name} ({entry.value})",
            got=f"{', '.join(wrong) or 'no family'} from {HOOK}",
            expected="one ttfamily.registry.Family or more",
            fix="Return a tuple of families from the hook.",
        )
    return found
