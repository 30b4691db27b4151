"""What the mock cluster runs on: the stub compiler, the folder that ttnn is led to, and the cluster itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ttfamily.errors import SimulatorError
from ttfamily.sim import toolchain
from ttfamily.sim.toolchain import mock_environment

if TYPE_CHECKING:
    from pathlib import Path

SHAPES = [(1, 1), (1, 2), (1, 8), (2, 4), (8, 4), (4, 8)]

# Opens every shape given, compiles two programs in each, and prints what it found as JSON.
PROGRAM = """
import json, os, pathlib, sys
import ttnn
from ttfamily.sim.toolchain import mock_environment

folder, scratch, shapes = json.loads(sys.argv[1])
os.environ.update(mock_environment(pathlib.Path(folder), pathlib.Path(scratch)))
found = []
for rows, columns in shapes:
    one = rows * columns == 1
    ttnn.set_fabric_config(ttnn.FabricConfig.DISABLED if one else ttnn.FabricConfig.FABRIC_1D)
    mesh = ttnn.open_mesh_device(ttnn.MeshShape(rows, columns))
    grid = mesh.compute_with_storage_grid_size()
    shape = ttnn.Shape([1, 1, 32, 64])
    x = ttnn.allocate_tensor_on_device(shape, ttnn.bfloat16, ttnn.TILE_LAYOUT, mesh, ttnn.DRAM_MEMORY_CONFIG)
    x = ttnn.add(x, x)
    for axis in range(2):
        if mesh.shape[axis] > 1:
            x = ttnn.all_reduce(x, cluster_axis=axis)
    found.append([list(mesh.shape), [grid.x, grid.y], mesh.dram_grid_size().x, list(x.shape)])
    ttnn.close_mesh_device(mesh)
files = pathlib.Path("/proc/self/fd").iterdir()
sockets = {os.readlink(file) for file in files if file.exists()}
listening = "0A"
entries = [line.split() for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()]
ports = [entry[1] for entry in entries if entry[3] == listening and f"socket:[{entry[9]}]" in sockets]
print(json.dumps([found, ports]))
"""


def start(folder: Path, scratch: Path, shapes: list[tuple[int, int]]) -> subprocess.Popen[str]:
    scratch.mkdir()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    for name in mock_environment(folder, scratch):
        environment.pop(name, None)  # this process may have a mock cluster of its own
    arguments = json.dumps([str(folder), str(scratch), shapes])
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, arguments],
        cwd=scratch,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def result(process: subprocess.Popen[str]) -> tuple[list[list[object]], list[str]]:
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    found, ports = json.loads(output)  # nothing else stands on stdout
    return found, ports


def compiled(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*.elf") if ".xip." not in path.name}


def test_two_processes_at_once_open_meshes_and_a_third_compiles_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    shapes = {"every mesh": SHAPES, "one of them": [(1, 2)]}
    both = [start(folder, tmp_path / name, some) for name, some in shapes.items()]
    for process, some in zip(both, shapes.values(), strict=True):
        found, ports = result(process)
        # The grid of the small boards and Wormhole's 12 DRAM banks, whatever the mesh.
        assert found == [[list(shape), [8, 8], 12, [1, 1, 32, 64]] for shape in some]
        assert ports == []

    before = compiled(folder)
    assert before
    third, _ = result(start(folder, tmp_path / "third", [(1, 2)]))
    assert third == [[[1, 2], [8, 8], 12, [1, 1, 32, 64]]]
    assert compiled(folder) == before
    # The process stood in its scratch folder: nothing is written in a working directory.
    assert {path.name for path in (tmp_path / "third").iterdir()} <= {"generated"}


@pytest.mark.parametrize("shell", ["sh", "bash", "dash"])
def test_the_stub_compiler_writes_what_is_asked_for(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    root = mock_environment(tmp_path / "cache", tmp_path)["TT_METAL_RUNTIME_ROOT"]
    compiler = f"{root}/runtime/sfpi/compiler/bin/riscv-tt-elf-g++"

    def compile_with(*arguments: str) -> str:
        return subprocess.run(
            [shell, compiler, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout

    assert compile_with("--version").startswith("riscv-tt-elf-g++ (tenstorrent/sfpi:7.")
    compile_with("-O3", "-MMD", "-c", "-o", "a b.o", "kernel.cc", "-MF", "a b.d")
    assert (tmp_path / "a b.o").read_bytes() == b""
    assert (tmp_path / "a b.d").read_text() == "a b.o:\n"
    compile_with("a b.o", "-o", "kernel.elf")
    assert (tmp_path / "kernel.elf").read_bytes() == toolchain._stub_elf()


def test_a_second_environment_uses_what_the_first_made(tmp_path: Path) -> None:
    first = mock_environment(tmp_path / "cache", tmp_path / "a")
    marks = {path: path.lstat().st_mtime_ns for path in (tmp_path / "cache").rglob("*")}
    second = mock_environment(tmp_path / "cache", tmp_path / "b")
    assert second == {**first, "TT_METAL_LOGS_PATH": str(tmp_path / "b")}
    assert {path: path.lstat().st_mtime_ns for path in (tmp_path / "cache").rglob("*")} == marks


def test_another_ttnn_gets_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def at(place: str, version: str) -> str:
        wheel = tmp_path / place
        (wheel / "tt_metal").mkdir(parents=True, exist_ok=True)
        (wheel / "runtime" / "hw").mkdir(parents=True, exist_ok=True)
        (wheel / toolchain.SFPI_VERSION).write_text("sfpi_version='1.2.3'\nsfpi_build='4'\n")
        monkeypatch.setattr(toolchain, "_installed_ttnn", lambda: (version, wheel))
        return mock_environment(tmp_path / "cache", tmp_path)["TT_METAL_RUNTIME_ROOT"]

    assert len({at("here", "0.81.1"), at("there", "0.81.1"), at("here", "0.82.0")}) == 3
    assert at("here", "0.81.1") == at("here", "0.81.1")


def test_the_loser_of_a_race_leaves_the_winners_folder_alone(tmp_path: Path) -> None:
    _, wheel = toolchain._installed_ttnn()
    home = tmp_path / "home"
    toolchain._build(home, wheel, "winner", "")
    toolchain._build(home, wheel, "loser", "")
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    assert (home / "root/runtime/sfpi/compiler/bin/riscv-tt-elf-g++").read_text() == "winner"


def test_a_full_kernel_cache_is_left_and_later_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain, "KERNELS_KEPT", 2)

    def fill(cache: Path) -> Path:
        for kernel in "ab":
            (cache / "tt-metal-cache1" / "kernels" / kernel / "hash").mkdir(parents=True)
        return cache

    first = fill(toolchain._kernel_cache(tmp_path))
    second = toolchain._kernel_cache(tmp_path)
    assert second == toolchain._kernel_cache(tmp_path) != first
    assert first.exists()  # a process that started with it may still run
    assert toolchain._kernel_cache(fill(second).parent) not in (first, second)
    assert not first.exists()
    assert second.exists()


def test_a_cache_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SimulatorError, match=r"file/cache: got .*Set TTFAMILY_CACHE"):
        mock_environment(tmp_path / "file" / "cache", tmp_path)
