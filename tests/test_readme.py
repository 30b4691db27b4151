"""What the README shows works: its Python runs, its commands and targets exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch
from typer.main import get_command

from ttfamily.cli import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
PYTHON = [code for language, code in BLOCKS if language == "python"]
SHELL = [line.split("  #")[0].strip() for language, code in BLOCKS if not language for line in code.splitlines()]
COMMANDS = [line for line in SHELL if line.startswith(("ttfamily ", ".venv/bin/ttfamily "))]
TARGETS = sorted(set(re.findall(r"\bmake (\w+)", "\n".join(SHELL))))


@pytest.mark.parametrize("code", PYTHON, ids=lambda code: code.splitlines()[-1].strip()[:40])
def test_its_python_runs(code: str, small_checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = re.sub(r'"(path/to/checkpoint|meta-llama/[^"]+)"', repr(str(small_checkpoint)), code)
    tokens = torch.tensor([1, 2, 3])
    positions = torch.tensor([3, -1, -1, -1])
    names = {"tokens": tokens, "positions": positions, "torch": torch, "ttfamily": __import__("ttfamily")}
    if "tokens, positions)" in code:
        code = code.replace("decode(tokens, positions)", "decode(torch.tensor([5, 0, 0, 0]), positions)")
    exec(compile(code, "README.md", "exec"), names)  # noqa: S102  (our own README)
    if "logits" in names:
        assert names["logits"].shape == (4, 300)
    assert "print(" not in code or capsys.readouterr().out


@pytest.mark.parametrize("line", COMMANDS)
def test_its_commands_parse(line: str) -> None:
    _, name, *arguments = shlex.split(line)
    command = get_command(app).commands[name]
    command.make_context(name, arguments)


@pytest.mark.parametrize("target", TARGETS)
def test_its_make_targets_exist(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_there_is_something_to_check() -> None:
    assert len(PYTHON) >= 2
    assert len(COMMANDS) >= 5
    assert {"demo", "env", "test", "lint"} <= set(TARGETS)
