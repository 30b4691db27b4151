"""The page about the simulated mesh as a tool: its examples run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ttfamily
from ttfamily.errors import MeshError

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/simulated-mesh.md").read_text()
LISTINGS = dict(re.findall(r'^```python title="([^"]+)"\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL))


def run(folder: Path, *words: str) -> str:
    for file, code in LISTINGS.items():
        (folder / file).write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    return ran.stdout


def test_the_example_runs_on_a_t3k(tmp_path: Path) -> None:
    assert run(tmp_path, "example.py").splitlines()[-1] == "torch.Size([8, 1, 32, 32])"


def test_the_test_of_the_page_runs_once_on_each_mesh(tmp_path: Path) -> None:
    out = run(tmp_path, "-m", "pytest", "-v", "-p", "no:cacheprovider", "test_mine.py")
    assert "test_mine.py::test_sigmoid[n150] PASSED" in out
    assert "test_mine.py::test_sigmoid[n300] PASSED" in out
    assert "2 passed" in out


def test_a_mesh_closes_at_the_end_of_its_block() -> None:
    with ttfamily.open_mesh("n300", device="simulated") as mesh:
        assert isinstance(mesh, ttfamily.Mesh)
        assert tuple(mesh.device.shape) == (1, 2)
    with pytest.raises(MeshError, match="a use of it after it was closed"):
        _ = mesh.device


def test_a_mesh_closes_when_its_block_fails() -> None:
    with pytest.raises(ZeroDivisionError), ttfamily.open_mesh("n300", device="simulated") as mesh:
        _ = 1 / 0
    assert mesh.closed
