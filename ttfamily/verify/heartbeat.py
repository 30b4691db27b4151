"""Where a child process is: a page of a file that it writes before everything it does, and that survives a hang."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from pathlib import Path

PAGE = 16384
MOST_CHARACTERS = 300  # of each text: in JSON at most twelve bytes a character, so that a page holds all of them


@attrs.frozen(kw_only=True)
class Beat:
    """What a process is doing.

    :param number: grows with every beat.
    :param part: ``ops``, ``invariants``, ``soak`` or ``timings``.
    :param subject: the small model, if it is about one.
    :param doing: an op's name, or what else is being done.
    :param arguments: of the op: formats and shapes.
    :param done: parts of the work that are done.
    :param total: all of them; 0 while that is not known.
    """

    number: int
    part: str
    subject: str = ""
    doing: str = ""
    arguments: str = ""
    done: int = 0
    total: int = 0

    def __str__(self) -> str:
        """As a place in a sentence: ``ttnn.linear(bfloat16 [1, 1, 32, 512]), in decode of llama``."""
        what = f"{self.doing}({self.arguments})" if self.arguments else self.doing
        place = " of ".join(filter(None, (self.part, self.subject)))
        return f"{what}, in {place}" if what and place else what or place


class Heartbeat:
    """Writes beats, each over the one before: always the same number of bytes, by one system call."""

    def __init__(self, file: Path) -> None:
        self._descriptor = os.open(file, os.O_CREAT | os.O_WRONLY, 0o600)
        self._beat = Beat(number=0, part="start")
        self.beat()

    def beat(self, **changes: object) -> None:
        """Say what comes next; what is not named stays as it was."""
        cut = {key: value[:MOST_CHARACTERS] if isinstance(value, str) else value for key, value in changes.items()}
        self._beat = attrs.evolve(self._beat, number=self._beat.number + 1, **cut)  # type: ignore[arg-type]
        os.pwrite(self._descriptor, json.dumps(attrs.asdict(self._beat)).encode().ljust(PAGE), 0)

    def step(self) -> None:
        """Say that a part of the work is done."""
        self.beat(done=self._beat.done + 1)

    @property
    def last(self) -> Beat:
        """The last one that was written."""
        return self._beat


def read_beat(file: Path) -> Beat | None:
    """Read the last beat; None before the first."""
    try:
        return Beat(**json.loads(file.read_bytes()))
    except (OSError, ValueError):
        return None
