"""What a command says on standard error: its log, and one clean block when something goes wrong."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ttfamily.errors import TtfamilyError, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

FAILED = 1
INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def show_log() -> None:
    """Show what the package logs, one plain line each."""
    import logging

    log = logging.getLogger("ttfamily")
    if not log.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)


@contextmanager
def reported(*, traceback: bool) -> Iterator[None]:
    """Turn this package's errors and Ctrl-C into a message on standard error and an exit code.

    Anything else is a bug of ours and goes through, with its traceback.

    :param traceback: let this package's errors through as well.
    :raises SystemExit: with 1 after an error, with 130 after Ctrl-C.
    """
    try:
        yield
    except TtfamilyError as error:
        if traceback:
            raise
        _print_error(error)
        sys.exit(FAILED)
    except KeyboardInterrupt:
        sys.stdout.flush()
        sys.stderr.write("\nInterrupted.\n")
        sys.exit(INTERRUPTED)


def _print_error(error: TtfamilyError) -> None:
    from rich.console import Console
    from rich.text import Text

    sys.stdout.flush()  # text that was streamed so far belongs above the error
    text = Text()
    text.append(f"{type(error).__name__}: {printable(error.who)}\n", style="bold red")
    for label, value in (("got", error.got), ("expected", error.expected), ("to do", error.fix)):
        text.append(f"{label:>10}  ", style="red")
        text.append(f"{printable(value)}\n")
    Console(stderr=True, highlight=False).print(text, end="", soft_wrap=True)
