"""``ttfamily verify``: run a verification, write its report, say what is not as planned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from ttfamily.errors import RequestError
from ttfamily.progress import Progress
from ttfamily.verify.lines import error, headline
from ttfamily.verify.page import page
from ttfamily.verify.run import verify as run

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from ttfamily.registry import FamilyRegistry
    from ttfamily.verify.heartbeat import Beat
    from ttfamily.verify.report import Report
    from ttfamily.verify.run import VerifyOptions

JSON, PAGE = "report.json", "report.html"
STYLES = {"as planned": "green", "timed": "green", "not as planned": "red"}
MOST_CHARACTERS = 60  # of what is being done, beside the bar


def verify(asked: VerifyOptions, registry: FamilyRegistry, *, output: Path, console: Console) -> bool:
    """Verify, write report.json and report.html, and print the summary.

    :param output: the folder of the report, which is made if need be.
    :returns: whether everything is as planned.
    :raises TtfamilyError: if something that was asked for is unknown, or the folder cannot be made.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as failure:
        raise RequestError(
            "--output",
            got=f"{output}, which cannot be made: {failure.strerror}",
            expected="a folder, or a name for one",
            fix="Choose another.",
        ) from failure
    with Progress(f"Verifying {asked.mesh}") as progress:

        def show(beat: Beat) -> None:
            if beat.total:
                progress(beat.done, beat.total, str(beat)[:MOST_CHARACTERS])

        report = run(asked, registry, show=show)
    (output / JSON).write_text(report.to_json() + "\n", encoding="utf-8")
    (output / PAGE).write_text(page(report), encoding="utf-8")
    show_report(report, console)
    console.print(Text(f"Wrote {output / JSON} and {output / PAGE}"), soft_wrap=True)
    return report.passed


def show_report(report: Report, console: Console) -> None:
    """Print what is as planned and what is not."""
    console.print(Text(headline(report), style="bold green" if report.passed else "bold red"))
    for name, status in report.summary.items():
        console.print(Text.assemble(f"  {name}: ", (status, STYLES.get(status, ""))))
    wrong = [op for op in report.ops if not op.right]
    if wrong:
        table = Table("op", "wrong", "error", "bound", "worst", "bound", "the first", title="Not as planned")
        for op in wrong:
            numbers = (error(op.together), f"{op.bound[0]:g}", error(op.worst), f"{op.bound[1]:g}")
            table.add_row(op.op, f"{op.wrong} of {op.calls}", *numbers, Text(op.detail))
        console.print(table)
    for check in (*report.invariants, *report.soak):
        if not check.right:
            console.print(Text(f"{check.name}, {check.subject}: {check.detail}", style="red"))
    for problem in report.problems:
        style = "red" if problem.fatal else "yellow"
        console.print(Text(f"{problem.kind}: {problem.where}", style=f"bold {style}"), soft_wrap=True)
        console.print(Text(f"  {problem.what}"), soft_wrap=True)
        if problem.todo:
            console.print(Text(f"  {problem.todo}"), soft_wrap=True)
