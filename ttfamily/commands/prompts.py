"""Where the prompts of ``ttfamily generate`` come from: arguments, standard input, a file."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ttfamily.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import TextIO

STDIN = "-"


def gather(arguments: Sequence[str], file: Path | None, stdin: TextIO | None = None) -> list[str]:
    """Return all prompts: the arguments in order, then the file's.

    :param arguments: prompts; ``-`` stands for the whole standard input as one prompt.
    :param file: one prompt a line; empty lines are left out.
    :param stdin: read where an argument is ``-``; the process's own by default.
    :raises RequestError: if there is no prompt, an empty one, two ``-``, or no such file.
    """
    if list(arguments).count(STDIN) > 1:
        raise _problem("two prompts that are -", "one: standard input can be read once", "Drop one of them.")
    prompts = [(stdin or sys.stdin).read().rstrip("\n") if text == STDIN else text for text in arguments]
    if "" in prompts:
        raise _problem("an empty prompt", "text", "Write the prompt after the model's name, in quotes.")
    prompts += _lines(file) if file is not None else []
    if not prompts:
        raise _problem(
            "no prompt",
            "one or more",
            'Write it after the model\'s name, in quotes, or use "-" for standard input or --prompts-file FILE.',
        )
    return prompts


def _lines(file: Path) -> list[str]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(
            "--prompts-file",
            got=f"{file}: {error.strerror if isinstance(error, OSError) else 'not UTF-8'}",
            expected="a UTF-8 text file with one prompt a line",
            fix="Check the path.",
        ) from error
    return [line for line in text.splitlines() if line.strip()]


def _problem(got: str, expected: str, fix: str) -> RequestError:
    return RequestError("prompt", got=got, expected=expected, fix=fix)
