"""What may stand for a checkpoint: a folder or a model id, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from ttfamily.errors import CheckpointError
from ttfamily.hub import checkpoint_folder


def refused(*parts: str) -> Any:
    return pytest.raises(CheckpointError, match=".*".join(map(re.escape, parts)))


@pytest.mark.parametrize("path", ["", " ", "\t"])
def test_nothing_is_not_the_current_folder(path: str) -> None:
    with refused("name_or_folder", repr(path), 'Pass "."'):
        checkpoint_folder(path)


def test_the_current_folder_is_a_dot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert checkpoint_folder(".").resolve() == tmp_path
    assert checkpoint_folder(Path()).resolve() == tmp_path


@pytest.mark.parametrize("value", [None, b"folder", 7, 1.5, True, ["folder"], {"a": 1}, object()])
def test_what_is_no_text_is_refused_by_its_type(value: Any) -> None:
    with refused("name_or_folder", type(value).__name__, "neither text nor a path"):
        checkpoint_folder(value)


@pytest.mark.parametrize("name", ["x" * 300, "/" + "x" * 300, "x/" * 3000, "a" * 10**6])
def test_a_name_too_long_is_refused_in_one_line(name: str) -> None:
    with refused("cannot be looked at", "too long") as caught:
        checkpoint_folder(name)
    assert len(str(caught.value)) < 2000


def test_the_home_of_nobody_is_refused() -> None:
    with refused("~nobody-of-this-name/model", "cannot be looked at"):
        checkpoint_folder("~nobody-of-this-name/model")


@pytest.mark.parametrize("name", ["nul\0byte", "\ud800", "./\x1b[31mred"])
def test_a_name_that_cannot_be_printed_is_refused_with_one_that_can(name: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        checkpoint_folder(name)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("of", [str, Path])
def test_a_file_is_not_called_a_folder_that_is_missing(tmp_path: Path, of: Any) -> None:
    file = tmp_path / "model.safetensors"
    file.touch()
    with refused(file.name, "got a file", f"the folder that it is in: {tmp_path}"):
        checkpoint_folder(of(file))
