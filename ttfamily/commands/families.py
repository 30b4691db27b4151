"""``ttfamily families``: which families are installed, and which plugins are broken or disabled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console

    from ttfamily.registry import FamilyRegistry


def show_families(registry: FamilyRegistry, console: Console) -> None:
    """Print one row a family, then the disabled plugins, then each broken one with its whole traceback."""
    table = Table("family", "architectures", "package", "version", title="Model families", title_justify="left")
    for each in registry.provided:
        family = each.family
        table.add_row(family.name, "\n".join(family.architectures), each.plugin.package, each.plugin.version)
    if registry.provided:
        console.print(table)
    elif registry.disabled:
        console.print("No family is left: see what is disabled and what is broken.")
    else:
        console.print("No family is installed, not even ttfamily's own: install the package (pip install -e .).")
    for plugin in registry.disabled:
        console.print()
        console.print(Text(f"Plugin {plugin.name} of {plugin.package} {plugin.version} is disabled.", style="yellow"))
    for broken in registry.broken:
        console.print()
        origin = f"{broken.plugin.name} of {broken.plugin.package} {broken.plugin.version}"
        console.print(Text(f"Plugin {origin} could not be loaded:", style="red"))
        console.print(Text(broken.traceback.rstrip(), style="dim"), soft_wrap=True)
