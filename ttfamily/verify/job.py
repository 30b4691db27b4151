"""What a child process is asked to do, and what it hands back: lines of JSON, each complete when it is written."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from ttfamily.discovery import discover
from ttfamily.errors import first_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ttfamily.family import Family
    from ttfamily.registry import FamilyRegistry

EXPECTED, DEVICE = "expected", "device"  # the two processes
FOLDERS = re.compile(r"(?<![\w.])(?:/[^/\s'\"]+)+/")


@attrs.frozen(kw_only=True)
class Job:
    """What to verify.

    :param mesh: its name.
    :param device: ``auto``, ``hardware`` or ``simulated``.
    :param precision: a policy's name, or a JSON file.
    :param families: names, as :meth:`FamilyRegistry.named` takes them; all that are installed if there are none.
    :param disabled: plugins that are not imported.
    :param steps: of the soak.
    :param scratch: a folder for what the processes share.
    """

    mesh: str
    device: str
    precision: str
    families: tuple[str, ...]
    disabled: tuple[str, ...]
    steps: int
    scratch: Path

    @property
    def file(self) -> Path:
        """Where the job itself is written."""
        return self.scratch / "job.json"

    def heartbeat(self, role: str) -> Path:
        """Where a child says what it is doing."""
        return self.scratch / f"{role}.beat"

    def events(self, role: str) -> Path:
        """Where a child writes what it has found."""
        return self.scratch / f"{role}.jsonl"

    def expected(self, subject: str) -> Path:
        """The simulator's values for a subject."""
        return self.scratch / "values" / subject

    def checkpoint(self, subject: str) -> Path:
        """A subject's weights, which both processes read."""
        return self.scratch / "checkpoints" / subject

    def write(self) -> None:
        """Write it for the children."""
        values = attrs.asdict(self) | {"scratch": str(self.scratch)}
        self.file.write_text(json.dumps(values), encoding="utf-8")

    @classmethod
    def read(cls, file: Path) -> Job:
        """Read what :meth:`write` wrote."""
        values = json.loads(file.read_text(encoding="utf-8"))
        lists = {key: tuple(values[key]) for key in ("families", "disabled")}
        return cls(**values | lists | {"scratch": Path(values["scratch"])})

    def registry(self) -> FamilyRegistry:
        """Look the plugins up, as the command did."""
        return discover(disabled=self.disabled)

    def chosen(self, registry: FamilyRegistry) -> list[Family]:
        """The families to verify.

        :raises FamilyError: if one is not installed.
        """
        if not self.families:
            return list(registry.families)
        return [registry.named(name).family for name in self.families]


class Events:
    """Appends what a child has found."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def write(self, kind: str, **values: Any) -> None:
        """Write one event."""
        with self._file.open("a", encoding="utf-8") as lines:  # and closed at once: a hang loses nothing
            lines.write(json.dumps({"kind": kind, **values}) + "\n")


def read_events(file: Path) -> Iterator[dict[str, Any]]:
    """Go through the events of a child; a last line that was cut off is left out."""
    if not file.exists():
        return
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            if line.endswith("\n"):
                yield json.loads(line)


def said(error: BaseException) -> str:
    """What an error says, in a line that may be sent to others: without the folders of this machine."""
    return without_folders(f"{type(error).__name__}: {first_line(error)}")


def without_folders(text: str) -> str:
    """Cut absolute paths down to the names of their files."""
    return FOLDERS.sub("", text)


def finite(value: float) -> float | None:
    """A number as JSON has it: None for infinity and NaN."""
    return value if math.isfinite(value) else None
