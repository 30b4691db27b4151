"""A bar on a terminal, lines in a log or a pipe."""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from ttfamily import progress
from ttfamily.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let seconds go by."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])

    def wait(seconds: float) -> None:
        now[0] += seconds

    return wait


def test_without_a_terminal_a_line_comes_every_ten_seconds(wait: Callable[[float], None]) -> None:
    lines: list[str] = []
    file = io.StringIO()
    with Progress("Training", console=Console(file=file), say=lines.append) as show:
        for step in range(1, 12):
            wait(3.0)
            show(step, 11, f"loss {1 / step:.2f}")
    assert lines == ["Training: 4 of 11, loss 0.25", "Training: 8 of 11, loss 0.12"]
    assert file.getvalue() == ""


def test_what_takes_less_says_nothing(wait: Callable[[float], None]) -> None:
    lines: list[str] = []
    with Progress("Training", console=Console(file=io.StringIO()), say=lines.append) as show:
        wait(9.9)
        show(1, 1)
    assert lines == []


def test_the_lines_of_a_load_go_to_the_log(wait: Callable[[float], None], caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.INFO, logger="ttfamily"),
        Progress("Loading it", console=Console(file=io.StringIO())) as show,
    ):
        wait(10.0)
        show(3, 32)
    assert caplog.messages == ["Loading it: 3 of 32"]


def test_a_terminal_gets_a_bar_and_no_lines(wait: Callable[[float], None]) -> None:
    lines: list[str] = []
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=80)
    with Progress("Loading it", console=console, say=lines.append) as show:
        wait(60.0)
        show(3, 32)
    assert lines == []
    assert "Loading it" in file.getvalue()
