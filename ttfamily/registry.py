"""Which families are installed, and which of them an architecture gets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import attrs

from ttfamily.errors import FamilyConflict, FamilyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ttfamily.core.mesh.boards import Board
    from ttfamily.family import Family


@attrs.frozen(kw_only=True)
class Plugin:
    """An installed plugin, as its package's metadata describes it; nothing is imported for this.

    :param name: the entry point's name.
    :param package: the distribution that declares it.
    :param version: that distribution's version.
    :param module: the entry point's value, ``module`` or ``module:object``.
    """

    name: str
    package: str
    version: str
    module: str

    def __str__(self) -> str:
        """Name, package and version."""
        return f"{self.name} ({self.package} {self.version})"

    def answers_to(self, name: str) -> bool:
        """Whether ``name`` is the entry point's name, the package, or ``package:entry``.

        Packages are compared as installers do: case, dots, hyphens and underscores do not matter.
        """
        package, colon, entry = name.partition(":")
        same_package = normalised(package) == normalised(self.package)
        return (same_package and entry == self.name) if colon else (same_package or name == self.name)


@attrs.frozen(kw_only=True)
class ProvidedFamily:
    """A family and the plugin it came from."""

    family: Family
    plugin: Plugin

    @property
    def qualified_name(self) -> str:
        """``package:family``, which stays unique where two packages use one family name."""
        return f"{self.plugin.package}:{self.family.name}"

    def answers_to(self, name: str) -> bool:
        """Whether ``name`` is the family's name or ``package:family``."""
        return name in (self.family.name, self.qualified_name)


@attrs.frozen(kw_only=True)
class BrokenPlugin:
    """A plugin that could not be loaded; the others are there all the same.

    :param reason: the exception, in one line.
    :param traceback: the whole traceback, as Python prints it.
    """

    plugin: Plugin
    reason: str
    traceback: str

    def __str__(self) -> str:
        """Name, package and reason."""
        return f"{self.plugin}: {self.reason}"


@attrs.frozen(kw_only=True)
class FamilyRegistry:
    """The installed families, and the plugins that are not among them.

    :param provided: in the order of package and entry-point names.
    :param boards: meshes that plugins add, beside the built-in ones.
    :param broken: plugins whose import, contract or hook failed.
    :param disabled: plugins that the caller did not want; they were not imported.
    """

    provided: tuple[ProvidedFamily, ...]
    boards: tuple[Board, ...] = ()
    broken: tuple[BrokenPlugin, ...] = ()
    disabled: tuple[Plugin, ...] = ()

    @property
    def families(self) -> tuple[Family, ...]:
        """Every family, without its origin."""
        return tuple(each.family for each in self.provided)

    @property
    def architectures(self) -> tuple[str, ...]:
        """Every known architecture, sorted, each once."""
        return tuple(sorted({name for family in self.families for name in family.architectures}))

    def claims(self, architecture: str) -> tuple[ProvidedFamily, ...]:
        """Every family that says it knows this architecture."""
        return tuple(each for each in self.provided if architecture in each.family.architectures)

    def for_architecture(self, name: str, family: str | None = None) -> Family:
        """Find the family of an architecture.

        :param name: the class name in config.json's ``architectures``.
        :param family: a family's name, or ``package:family``, to choose where several claim it.
        :raises FamilyError: if no family, or not this one, knows the architecture.
        :raises FamilyConflict: if several do and ``family`` does not decide.
        """
        claims = [each for each in self.claims(name) if family is None or each.answers_to(family)]
        if not claims:
            raise self._unknown(name, family)
        return _only(name, claims).family

    def named(self, name: str) -> ProvidedFamily:
        """Find a family by its own name, or by ``package:family``.

        :raises FamilyError: if there is none.
        :raises FamilyConflict: if there are several.
        """
        found = [each for each in self.provided if each.answers_to(name)]
        if not found:
            known = ", ".join(each.family.name for each in self.provided) or "none is installed"
            raise FamilyError(
                f"family {name!r}",
                got="a name that no installed family has",
                expected=f"one of the installed families ({known})",
                fix=f"Check the name.{self._missing()}",
            )
        return _only(f"family {name!r}", found)

    def _unknown(self, name: str, family: str | None) -> FamilyError:
        known = ", ".join(self.architectures) or "none, for no family is installed"
        expected = f"one of the known architectures ({known})"
        if family is not None:
            lines = (f"{each.qualified_name} ({', '.join(each.family.architectures)})" for each in self.provided)
            expected = f"a family that provides it, out of {'; '.join(lines) or 'none'}"
        got = "an unknown architecture" if family is None else f"family={family!r}"
        fix = f"Install a plugin for it, or write one.{self._missing()}"
        return FamilyError(name, got=got, expected=expected, fix=fix)

    def _missing(self) -> str:
        """Name the plugins that might have had what is not here."""
        text = ""
        if self.broken:
            text += f" These plugins could not be loaded: {'; '.join(map(str, self.broken))}."
        if self.disabled:
            text += f" These plugins are disabled: {'; '.join(map(str, self.disabled))}."
        return text


def _only(who: str, claims: Sequence[ProvidedFamily]) -> ProvidedFamily:
    if len(claims) > 1:
        choices = " or ".join(f"family={each.qualified_name!r}" for each in claims)
        raise FamilyConflict(
            who,
            got="claims by " + " and ".join(f"{c.qualified_name} (version {c.plugin.version})" for c in claims),
            expected="one family",
            fix=f"Pass {choices}, or uninstall one of the packages.",
        )
    return claims[0]


def normalised(package: str) -> str:
    """Return a package's name as the package index compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", package).lower()
