"""Opening and closing: one mesh a process at a time, any number of processes, and no file left anywhere else."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
import torch
import ttnn

from ttfamily.core.mesh.mesh import open_mesh
from ttfamily.core.mesh.placement import Sharding, put, read
from ttfamily.errors import MeshError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ttfamily.core.mesh.mesh import Mesh


@contextlib.contextmanager
def opened(name: str, kind: str = "simulated") -> Iterator[Mesh]:
    mesh = open_mesh(name, kind)
    try:
        yield mesh
    finally:
        mesh.close()


def compute(mesh: Mesh) -> None:
    x = put(mesh, torch.ones(1, 1, 32, 32 * mesh.tensor_parallel), dtype=ttnn.bfloat16, sharding=Sharding(tensor=3))
    got = read(mesh, ttnn.add(x, 2.0), Sharding(tensor=3)).float()
    assert torch.equal(got, torch.full((1, 1, 32, 32 * mesh.tensor_parallel), 3.0))


# No test here takes the session's mesh: they run before it is open.


def test_meshes_of_different_sizes_open_one_after_the_other() -> None:
    for name, devices in (("n150", 1), ("n300", 2), ("n150", 1), ("n300", 2)):
        with opened(name) as mesh:
            assert (mesh.tensor_parallel, mesh.grid, mesh.dram_banks) == (devices, (8, 8), 12)
            assert mesh.device.get_num_devices() == devices
            compute(mesh)


def test_a_simulated_mesh_follows_a_dry_one_and_the_reverse() -> None:
    for kind in ("dry", "simulated", "dry"):
        with opened("n300", kind) as mesh:
            assert mesh.kind == kind
            if kind == "simulated":
                compute(mesh)


@pytest.mark.parametrize("kind", ["simulated", "dry"])
def test_a_second_mesh_in_one_process_is_refused_and_harms_nothing(kind: str) -> None:
    with opened("n300") as mesh:
        with pytest.raises(MeshError, match=r"a second mesh while one is open.*Close the first"):
            open_mesh("n150", kind)
        compute(mesh)
    with opened("n150") as mesh:
        compute(mesh)


def test_a_cluster_that_cannot_be_made_says_so_every_time(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    tried = """
from ttfamily.core.mesh.mesh import open_mesh
from ttfamily.errors import SimulatorError
for _ in range(2):
    try:
        open_mesh("n150", "dry")
    except SimulatorError as error:
        print(error.fix)
"""
    environment = {**os.environ, "TTFAMILY_CACHE": str(tmp_path / "file")}
    ran = subprocess.run([sys.executable, "-c", tried], capture_output=True, text=True, env=environment, check=False)
    said = [line for line in ran.stdout.splitlines() if "TTFAMILY_CACHE" in line]
    assert len(said) == 2, ran.stderr


def test_a_mesh_that_cannot_be_opened_leaves_the_next_one_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: object, **__: object) -> None:
        raise RuntimeError("no such mesh")

    with monkeypatch.context() as patch:
        patch.setattr(ttnn, "open_mesh_device", fails)
        with pytest.raises(RuntimeError, match="no such mesh"):
            open_mesh("n300", "simulated")
    with opened("n150") as mesh:
        compute(mesh)


# ---- other processes

KINDS = ("home", "work", "temporary")

PROGRAM = """
import sys, time
from pathlib import Path
import torch, ttnn
from ttfamily.core.mesh.mesh import open_mesh
from ttfamily.core.mesh.placement import put, read

name, meeting = sys.argv[1], Path(sys.argv[2])
mesh = open_mesh(name, "simulated")
(meeting / name).touch()
until = time.monotonic() + 120
while not all((meeting / other).exists() for other in ("n150", "n300")) and time.monotonic() < until:
    time.sleep(0.05)
assert time.monotonic() < until, "the other process never opened its mesh"
x = put(mesh, torch.ones(1, 1, 32, 64), dtype=ttnn.bfloat16)
print("sum", float(read(mesh, ttnn.rms_norm(ttnn.add(x, x), epsilon=0.0)).sum()))
mesh.close()
"""


@attrs.frozen
class Run:
    """Two processes that had a mesh open at the same time, each in a working folder and a home of its own."""

    outputs: dict[str, str]
    codes: dict[str, int]
    left: dict[str, list[str]]
    changed: list[str]


def left_in(folder: Path) -> list[str]:
    """What stands there; in the temporary folder only files, for MPI leaves the empty folders of its session."""
    return [str(path) for path in folder.rglob("*") if path.is_file() or folder.name != "temporary"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    base = tmp_path_factory.mktemp("processes")
    meeting = base / "meeting"
    meeting.mkdir()
    started, processes = time.time(), {}
    for name in ("n150", "n300"):
        for kind in KINDS:
            (base / name / kind).mkdir(parents=True)
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("TT_", "TTNN", "XDG_"))},
            "HOME": str(base / name / "home"),
            "TMPDIR": str(base / name / "temporary"),
            "TTFAMILY_CACHE": str(base / "cache"),
            "PYTHONPATH": os.pathsep.join(sys.path),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        processes[name] = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, name, str(meeting)],
            cwd=base / name / "work", env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
    outputs = {name: process.communicate(timeout=240)[0] for name, process in processes.items()}
    package = Path(ttnn.__file__).parents[1]
    return Run(
        outputs=outputs,
        codes={name: process.returncode for name, process in processes.items()},
        left={f"{name}/{kind}": left_in(base / name / kind) for name in processes for kind in KINDS},
        changed=[str(path) for path in package.rglob("*") if path.is_file() and path.stat().st_mtime > started],
    )


@pytest.mark.parametrize("name", ["n150", "n300"])
def test_two_processes_have_a_mesh_open_at_once(run: Run, name: str) -> None:
    assert run.codes[name] == 0, run.outputs[name]
    assert "sum 2048.0" in run.outputs[name]


@pytest.mark.parametrize("name", ["n150", "n300"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_process_leaves_no_file(run: Run, name: str, kind: str) -> None:
    assert not run.left[f"{name}/{kind}"]


def test_nothing_is_written_into_ttnns_own_folder(run: Run) -> None:
    assert not run.changed
