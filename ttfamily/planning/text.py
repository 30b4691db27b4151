"""A report on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from ttfamily.planning.lines import headline, tables

if TYPE_CHECKING:
    from rich.console import Console

    from ttfamily.planning.report import Report


def show(report: Report, console: Console) -> None:
    """Print a report."""
    for number, line in enumerate(headline(report)):
        console.print(Text(line, style="bold" if number == 0 else ""))
    for lines in tables(report):
        table = Table(title=Text(lines.title, style="bold"), title_justify="left")
        for number, column in enumerate(lines.columns):
            table.add_column(Text(column), justify="right" if number and lines.is_numeric(number) else "left")
        for row in lines.rows:
            table.add_row(*(Text(cell) for cell in row))
        console.print()
        console.print(table)
        if lines.note:
            console.print(Text(lines.note, style="dim"))
