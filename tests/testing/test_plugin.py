"""The pytest plugin opens the meshes that were asked for, and leaves other people's test runs alone."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import ttfamily

if TYPE_CHECKING:
    from pathlib import Path

ROOT = next(iter(ttfamily.__path__)).rpartition("/")[0]


def pytest_run(folder: Path, source: str, *options: str) -> str:
    """Run a test file in a process of its own; the plugin is found as an installed package's."""
    (folder / "test_it.py").write_text(source)
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": ROOT},
        capture_output=True,
        text=True,
        check=False,
    )
    return ran.stdout + ran.stderr


def test_each_mesh_asked_for_is_open_once_and_after_tests_that_open_their_own(tmp_path: Path) -> None:
    out = pytest_run(
        tmp_path,
        "from ttfamily.core.mesh.mesh import open_mesh\n"
        "def test_first(tt_mesh): print('shape', tt_mesh.shape, tt_mesh.kind)\n"
        "def test_second(tt_mesh): print('again', tt_mesh.name)\n"
        "def test_own(tt_mesh_names, tt_device):\n"
        "    print('own', tt_mesh_names, tt_device)\n"
        "    open_mesh('n300', tt_device).close()\n",
        "-s",
        "--tt-mesh=n150,n300",
    )
    lines = [line.lstrip(".") for line in out.splitlines() if line.lstrip(".").startswith(("shape", "again", "own"))]
    assert lines == [
        "own ('n150', 'n300') simulated",
        "shape (1, 1) simulated",
        "again n150",
        "shape (1, 2) simulated",
        "again n300",
    ]


def test_markers_choose_meshes_and_keep_simulator_tests_off_hardware(tmp_path: Path) -> None:
    source = (
        "import pytest\n"
        "@pytest.mark.tt_meshes('n300')\n"
        "def test_two(tt_mesh): assert tt_mesh.tensor_parallel == 2\n"
        "@pytest.mark.tt_simulated\n"
        "def test_inside(): pass\n"
    )
    assert "2 passed" in pytest_run(tmp_path, source, "--strict-markers")
    assert "1 skipped" in pytest_run(tmp_path, source, "--tt-device=auto", "-k", "inside")


def test_hardware_that_is_not_there_is_named(tmp_path: Path) -> None:
    out = pytest_run(tmp_path, "def test_it(tt_mesh): pass\n", "--tt-device=hardware")
    assert "MeshError" in out
    assert "ttfamily doctor" in out


def test_a_run_that_has_nothing_to_do_with_ttfamily_imports_nothing_heavy(tmp_path: Path) -> None:
    source = (
        "import sys\n"
        "def test_it(): assert not {'torch', 'ttnn', 'transformers', 'hypothesis', 'pluggy_'} & set(sys.modules)\n"
    )
    out = pytest_run(tmp_path, source, "-p", "no:hypothesispytest")
    assert "1 passed" in out
    assert "conformance" not in out


@pytest.mark.parametrize(("profile", "count"), [("quick", 30), ("thorough", 200)])
def test_profiles(tmp_path: Path, profile: str, count: int) -> None:
    source = f"from hypothesis import settings\ndef test_it(): assert settings().max_examples == {count}\n"
    assert "1 passed" in pytest_run(tmp_path, source, f"--hypothesis-profile={profile}")


def test_tests_that_hold_objects_of_ttnn_are_not_reported_as_leaks_at_exit(tmp_path: Path) -> None:
    out = pytest_run(
        tmp_path,
        "import hypothesis, pytest, ttnn\n"
        "@pytest.mark.parametrize('activation', [ttnn.UnaryWithParam(ttnn.UnaryOpType.SILU)])\n"
        "@hypothesis.given(number=hypothesis.strategies.integers())\n"
        "def test_it(activation, number): pass\n",
    )
    assert "1 passed" in out
    assert "nanobind" not in out
