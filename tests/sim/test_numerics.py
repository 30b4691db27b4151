"""``numerics=``: from the caller to the kernels of a simulated mesh, and to no other mesh."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import attrs
import pytest

import ttfamily
from ttfamily.core.mesh.mesh import Mesh, check_numerics, open_mesh
from ttfamily.errors import MeshError

if TYPE_CHECKING:
    from pathlib import Path

# 512 ones and 512 numbers of which 16 are less than half a unit of 512: a bfloat16 Dst takes none of them.
SCRIPT = """
import sys, torch, ttnn
from ttfamily.core.mesh.mesh import open_mesh
from ttfamily.core.mesh.placement import put, read
mesh = open_mesh("n150", "simulated", numerics=sys.argv[1])
steps = torch.where(torch.arange(1024) < 512, 1.0, 2.0**-6).expand(1, 1, 32, 1024)
x, ones = put(mesh, steps, dtype=ttnn.bfloat16), put(mesh, torch.ones(1, 1, 1024, 32), dtype=ttnn.bfloat16)
print(mesh.numerics, read(mesh, ttnn.matmul(x, ones)).unique().tolist())
mesh.close()
"""


@pytest.mark.parametrize(("numerics", "total"), [("fast", 520.0), ("engine", 512.0)])
def test_a_mesh_adds_as_it_was_opened_to(numerics: str, total: float) -> None:
    run = subprocess.run([sys.executable, "-c", SCRIPT, numerics], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == f"{numerics} [{total}]"


def test_unknown_numerics_are_refused() -> None:
    with pytest.raises(MeshError, match="numerics: got 'exact'; expected fast or engine"):
        open_mesh("n150", "simulated", numerics="exact")  # type: ignore[arg-type]


def test_a_mesh_without_values_to_add_has_no_engine() -> None:
    with pytest.raises(MeshError, match="numerics: got the engine's on a dry mesh; expected a simulated mesh"):
        open_mesh("n150", "dry", numerics="engine")


def test_load_hands_its_numerics_to_the_mesh(small_checkpoint: Path, mesh: Mesh) -> None:
    with pytest.raises(MeshError, match="the engine's on a simulated mesh that was opened with others"):
        ttfamily.load(small_checkpoint, mesh=mesh, numerics="engine")
    with pytest.raises(MeshError, match="the engine's on a dry mesh"):
        ttfamily.load(small_checkpoint, device="dry", numerics="engine")


def test_a_mesh_that_is_open_keeps_its_numerics(mesh: Mesh) -> None:
    with pytest.raises(MeshError, match="on a simulated mesh that was opened with others"):
        check_numerics("engine", mesh.kind, mesh.numerics)
    check_numerics("fast", mesh.kind, mesh.numerics)
    check_numerics("engine", "simulated", attrs.evolve(mesh, numerics="engine").numerics)
