"""``ttfamily verify`` from the shell: its options, its exit code, its two files; and the page about it."""

from __future__ import annotations

import json
import logging
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from typer.main import get_command

from ttfamily.cli import app, main
from ttfamily.commands import verify as command
from ttfamily.verify.report import OpRow, Problem, Report
from ttfamily.verify.run import VerifyOptions

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent.parent
ROW = OpRow(op="ttnn.add", subjects=("llama",), calls=1, wrong=0, together=0.0, worst=0.0, bound=(2.0, 2.0), detail="")
PASSED = Report(
    asked={"mesh": "n300", "device": "auto"},
    environment=None,
    compared=("llama",),
    ops=(ROW,),
    invariants=(),
    soak=(),
    op_times=(),
    constants=(),
    timings=(),
    problems=(),
    unfinished=(),
)
HANG = Problem(kind="hang", where="ttnn.linear, in ops of llama", what="nothing has moved", todo="tt-smi -r")
FAILED = attrs.evolve(
    PASSED, ops=(attrs.evolve(ROW, wrong=1, together=7.0, detail="decode of llama: device 0"),), problems=(HANG,)
)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, list[Any]]]:
    log, asked = logging.getLogger("ttfamily"), []
    monkeypatch.setattr(log, "handlers", [])
    monkeypatch.setattr(log, "level", log.level)

    def run(report: Report, *arguments: str) -> tuple[int, list[Any]]:
        def verify(options: VerifyOptions, _registry: Any, *, show: Any) -> Report:
            asked.append(options)
            assert callable(show)
            return report

        monkeypatch.setattr(command, "run", verify)
        monkeypatch.setattr(sys, "argv", ["ttfamily", "verify", *arguments])
        monkeypatch.setenv("COLUMNS", "160")
        with pytest.raises(SystemExit) as exit_:
            main()
        return int(exit_.value.code or 0), asked

    return run


def test_a_device_that_is_as_planned_exits_with_0_and_leaves_two_files(
    run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, asked = run(PASSED, "--output", str(tmp_path / "a" / "b"))
    assert status == 0
    assert asked == [VerifyOptions(mesh="n150", device="auto", precision="accuracy", patience=120.0, steps=1000)]
    out = capsys.readouterr().out
    assert "everything is as planned" in out
    assert "ops against the simulator: as planned" in out
    written = json.loads((tmp_path / "a" / "b" / "report.json").read_text())
    assert (written["schema"], written["passed"]) == (1, True)
    assert "everything is as planned" in (tmp_path / "a" / "b" / "report.html").read_text()


def test_one_that_is_not_exits_with_1_and_says_what_is_wrong(
    run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _ = run(FAILED, "--output", str(tmp_path))
    assert status == 1
    out = capsys.readouterr().out
    for said in ("not everything is as planned", "1 of 1", "decode of llama", "hang: ttnn.linear", "tt-smi -r"):
        assert said in out


def test_every_option_arrives(run: Any, tmp_path: Path) -> None:
    options = "--mesh n300 --device simulated --precision performance --families llama,falcon --patience 30"
    _, (asked,) = run(PASSED, *options.split(), "--output", str(tmp_path))
    assert asked == VerifyOptions(
        mesh="n300",
        device="simulated",
        precision="performance",
        families=("llama", "falcon"),
        patience=30.0,
    )


def test_a_folder_that_cannot_be_made_is_an_error(run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    status, asked = run(PASSED, "--output", str(tmp_path / "file" / "folder"))
    assert (status, asked) == (1, [])
    assert "--output" in capsys.readouterr().err


def test_the_commands_of_the_page_about_a_first_card_parse() -> None:
    page = (ROOT / "docs" / "first-card.md").read_text()
    found = [each for each in re.findall(r"`(ttfamily [^`]+)`|^(ttfamily .*)$", page, re.MULTILINE) if any(each)]
    lines = ["".join(each) for each in found]
    assert len(lines) >= 4
    for line in lines:
        _, name, *arguments = shlex.split(line)
        get_command(app).commands[name].make_context(name, arguments)


def test_verifying_needs_nothing_that_only_tests_need() -> None:
    """Neither hypothesis nor pytest, which an installation for users does not have."""
    code = (
        "import ttfamily.verify.child, ttfamily.commands.verify, sys; print({'hypothesis', 'pytest'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("set()")
