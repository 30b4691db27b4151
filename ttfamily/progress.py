"""What a user sees while a model loads."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def quiet_ttnn() -> None:
    """Keep ttnn's own log lines off the terminal: its errors reach the caller as exceptions."""
    from loguru import logger

    logger.disable("ttnn")


class Progress:
    """A bar on standard error while the layers load, where standard error is a terminal."""

    def __init__(self, name: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (TextColumn(f"Loading {name}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        console = Console(stderr=True)
        self._bar = Bar(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> Callable[[int, int], None]:
        """Show the bar; returns what to call with (done, total)."""
        self._bar.start()
        return lambda done, total: self._bar.update(self._task, completed=done, total=total)

    def __exit__(self, *_: object) -> None:
        """Take the bar away."""
        self._bar.stop()
