"""``ttfamily families explain``: who claims an architecture, who gets it and why, and what it is made of."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console

    from ttfamily.registry import FamilyRegistry, ProvidedFamily


def explain(registry: FamilyRegistry, architecture: str, family: str | None, console: Console) -> bool:
    """Print what happens to an architecture, and return whether a family gets it.

    :param family: what the user chose with ``--family``, if anything.
    """
    claims = registry.claims(architecture)
    chosen = [each for each in claims if family is None or each.answers_to(family)]
    winner = chosen[0] if len(chosen) == 1 else None
    if claims:
        _show_claims(architecture, claims, console)
    _say(console, "")
    _say(console, _verdict(registry, architecture, claims, chosen, family), "bold green" if winner else "bold red")
    if winner is not None:
        _show_family(winner, console)
    for broken in registry.broken:
        _say(console, f"\nNot asked, for it could not be loaded: {broken}", "red")
    for plugin in registry.disabled:
        _say(console, f"\nNot asked, for it is disabled: {plugin}", "yellow")
    return winner is not None


def _verdict(
    registry: FamilyRegistry,
    architecture: str,
    claims: Sequence[ProvidedFamily],
    chosen: Sequence[ProvidedFamily],
    family: str | None,
) -> str:
    if not claims:
        nearest = difflib.get_close_matches(architecture, registry.architectures, cutoff=0.5)
        hint = f" The nearest known names: {', '.join(nearest)}." if nearest else ""
        return f"No family claims {architecture}.{hint}"
    if len(chosen) == 1:
        why = "the only claim" if family is None else f"chosen by --family {family}"
        return f"{chosen[0].qualified_name} gets it: {why}."
    offers = " or ".join(f"--family {each.qualified_name}" for each in chosen or claims)
    if chosen:
        return f"Nobody gets it: {len(chosen)} families claim it. Pass {offers}."
    return f"Nobody gets it: no family named {family} claims it. Pass {offers}."


def _show_claims(architecture: str, claims: Sequence[ProvidedFamily], console: Console) -> None:
    title = f"Claims on {architecture}"
    rows = ((c.family.name, c.plugin.package, c.plugin.version, c.plugin.name, c.plugin.module) for c in claims)
    _show_table(title, ("family", "package", "version", "entry point", "module"), rows, console)


def _show_family(winner: ProvidedFamily, console: Console) -> None:
    family = winner.family
    _say(console, "")
    if callable(family.weights):
        _say(console, f"Its weight rules depend on the config: {_path(family.weights)} makes them.")
    else:
        rules = dict(family.weights).items()
        rows = ((slot, rule.cut, "\n".join(rule.modules)) for slot, rule in rules)
        _show_table("Weight rules", ("slot", "cut", "modules"), rows, console)
    _say(console, "")
    if family.blocks:
        _show_table("Blocks of its own", ("slot", "class"), family.blocks.items(), console)
    else:
        _say(console, "Blocks of its own: none.")
    _say(console, f"Its spec is made by {_path(family.spec)}.")
    _say(console, f"It is defined in {winner.plugin.module}.")


def _show_table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]], console: Console) -> None:
    # Without lines and folded: a module's path fits in 80 columns, and a longer one is never cut.
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in head:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _path(function: object) -> str:
    """Return where a function is written, as far as it says so: a partial or an object does not."""
    module, name = (getattr(function, part, None) for part in ("__module__", "__qualname__"))
    return f"{module}.{name}" if module and name else repr(function)


def _say(console: Console, line: str, style: str = "") -> None:
    console.print(Text(line, style=style), soft_wrap=True)
