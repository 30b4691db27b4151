"""``ttfamily families``: which families are installed, and which plugins could not be loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console

    from ttfamily.registry import FamilyRegistry


def show_families(registry: FamilyRegistry, console: Console) -> None:
    """Print one row a family, then each broken plugin with its whole traceback."""
    table = Table("family", "architectures", "package", "version", title="Model families", title_justify="left")
    for each in registry.provided:
        family = each.family
        table.add_row(family.name, "\n".join(family.architectures), each.package, each.version)
    if registry.provided:
        console.print(table)
    else:
        console.print("No family is installed, not even ttfamily's own: install the package (pip install -e .).")
    for broken in registry.broken:
        console.print()
        origin = f"{broken.name} of {broken.package} {broken.version}"
        console.print(Text(f"Plugin {origin} could not be loaded:", style="red"))
        console.print(Text(broken.traceback.rstrip(), style="dim"))
