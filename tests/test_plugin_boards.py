"""A plugin may add boards, by names that nobody else has."""

from __future__ import annotations

import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from ttfamily.core.mesh.boards import MeshSpec
from ttfamily.core.mesh.mesh import open_mesh
from ttfamily.discovery import discover

if TYPE_CHECKING:
    from pathlib import Path

BOARD = """
    from ttfamily import Axis, Board, hookimpl

    TTFAMILY_CONTRACT = 1

    @hookimpl
    def ttfamily_boards():
        yield Board(name="{name}", rows=Axis(devices=1), columns=Axis(devices=4, topology="ring", links=2), source="x")
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    info = folder / "tt_quiet-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tt-quiet\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ttfamily]\nquiet = strange_boards\n")
    (folder / "strange_boards.py").write_text(textwrap.dedent(BOARD.format(name=name)))
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "strange_boards", raising=False)


def test_a_plugin_adds_a_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "quietbox")
    boards = discover().boards
    spec = MeshSpec.parse("quietbox/dp2", boards)
    assert (spec.shape, spec.columns.links) == ((2, 2), 2)
    mesh = open_mesh("quietbox", "dry", boards)
    assert mesh.shape == (1, 4)
    mesh.close()


@pytest.mark.parametrize(
    ("name", "said"), [("n300", "more than one board named 'n300'"), ("2x4", "a name like 'n300'")]
)
def test_a_name_that_is_taken_or_a_shape_breaks_the_plugin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    install(tmp_path, monkeypatch, name)
    registry = discover()
    assert not registry.boards
    assert said in str(registry.broken[0])
