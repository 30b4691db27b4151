"""How far something long has come: a bar on a terminal, a line now and then where there is none."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

log = logging.getLogger("ttfamily")

EVERY = 10.0
"""Seconds between two lines; what takes less says nothing."""


class Progress:
    """Shows steps that are done, as a context manager.

    :param title: what is being done.
    :param console: where the bar is drawn if it is a terminal; by default standard error.
    :param say: takes the lines if it is none; by default the log.
    """

    def __init__(self, title: str, *, console: Console | None = None, say: Callable[[str], None] = log.info) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        console = console or Console(stderr=True)
        note = TextColumn("{task.fields[note]}")
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), note, TimeRemainingColumn())
        self._bar = Bar(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task(title, total=None, note="")
        self._title = title
        self._say = say
        self._next_line = 0.0

    def __enter__(self) -> Callable[..., None]:
        """Begin; returns :meth:`update`."""
        self._bar.start()
        self._next_line = time.monotonic() + EVERY
        return self.update

    def update(self, done: int, total: int, note: str = "") -> None:
        """Show that ``done`` of ``total`` steps are done, and a note about the last of them."""
        self._bar.update(self._task, completed=done, total=total, note=note)
        if self._bar.disable and time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + EVERY
            self._say(f"{self._title}: {done} of {total}{note and f', {note}'}")

    def __exit__(self, *_: object) -> None:
        """Take the bar away."""
        self._bar.stop()
