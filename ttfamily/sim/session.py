"""Opening and closing a simulated or dry mesh: the mock cluster, and the interpreter that runs its ops."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import ttnn

from ttfamily.errors import MeshError
from ttfamily.paths import cache_folder
from ttfamily.sim.cluster import LARGEST
from ttfamily.sim.interpreter import Interpreter
from ttfamily.sim.toolchain import mock_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ttfamily.arch import Cluster
    from ttfamily.sim.interpreter import Observer
    from ttfamily.sim.mock_mesh import Numerics


@attrs.define
class _Process:
    """What a process has one of.

    :param session: the open mesh, since ttnn has one set of functions.
    :param cluster: that it has: ttnn keeps its first one, with its environment, until the process ends.
    """

    session: Session | None = None
    cluster: Cluster | None = None


_process = _Process()


@attrs.frozen(eq=False)
class Session:
    """One open mesh of the mock cluster."""

    device: ttnn.MeshDevice
    interpreter: Interpreter

    def close(self) -> None:
        """Give ttnn its functions back and close the mesh; a second time does nothing."""
        if _process.session is self:
            _process.session = None
            self.interpreter.uninstall()
            ttnn.close_mesh_device(self.device)


def open_session(
    cluster: Cluster,
    shape: tuple[int, int],
    *,
    computes: bool,
    trace_region: int,
    l1_small_size: int = 0,
    numerics: Numerics = "fast",
) -> Session:
    """Open a mesh of the mock cluster, and let its interpreter see every op.

    :param cluster: which one it is.
    :param shape: (rows, columns), a corner of the cluster.
    :param computes: False for a dry mesh.
    :param trace_region: bytes of DRAM on each chip that are kept for traces.
    :param l1_small_size: bytes of each core's L1 that are kept for small buffers.
    :param numerics: how sums are made (:class:`~ttfamily.sim.mock_mesh.MockMesh`).
    :raises MeshError: if the cluster has no such corner, or this process has a simulated mesh open, or has had one of
        another cluster.
    """
    if _process.session is not None:
        raise MeshError(
            "simulated mesh",
            got="a second mesh while one is open in this process",
            expected="one at a time",
            fix="Close the first model (model.close(), or a with block), or use another process.",
        )
    if any(chips > most for chips, most in zip(sorted(shape), LARGEST[cluster], strict=True)):
        raise MeshError(
            "simulated mesh",
            got=f"{shape[0]} x {shape[1]} {cluster} chips",
            expected=f"at most {LARGEST[cluster][0]} x {LARGEST[cluster][1]} of them",
            fix='Use device="hardware", or a smaller mesh.',
        )
    if _process.cluster is None:
        scratch = Path(tempfile.mkdtemp(prefix="ttfamily-sim-"))
        _remove_at_exit(scratch)
        os.environ.update(mock_environment(cache_folder() / "sim", scratch, cluster))
        _process.cluster = cluster
    if cluster != _process.cluster:
        raise MeshError(
            "simulated mesh",
            got=f"one of {cluster} chips in a process that has had {_process.cluster} chips",
            expected="one kind of cluster in a process: ttnn keeps the first cluster that it opens",
            fix="Use another process.",
        )
    one_chip = shape == (1, 1)
    ttnn.set_fabric_config(ttnn.FabricConfig.DISABLED if one_chip else ttnn.FabricConfig.FABRIC_1D)
    device = ttnn.open_mesh_device(ttnn.MeshShape(*shape), trace_region_size=trace_region, l1_small_size=l1_small_size)
    interpreter = Interpreter(device, computes=computes, numerics=numerics, arch=device.arch().name.lower())
    interpreter.install()
    session = _process.session = Session(device, interpreter)
    return session


def open_interpreter() -> Interpreter:
    """Return the interpreter of the open mesh of the mock cluster.

    :raises MeshError: if none is open.
    """
    if _process.session is None:
        raise MeshError(
            "interpreter",
            got="no open mesh of the mock cluster",
            expected="one whose ops can be seen",
            fix='Open a mesh with device="dry" or "simulated" first.',
        )
    return _process.session.interpreter


@contextmanager
def observed(observer: Observer) -> Iterator[None]:
    """Let ``observer`` see every op of the open mesh of the mock cluster: name, arguments, result.

    :raises MeshError: if none is open.
    """
    interpreter = open_interpreter()
    before, interpreter.observer = interpreter.observer, observer
    try:
        yield
    finally:
        interpreter.observer = before


def _remove_at_exit(folder: Path) -> None:
    import atexit

    atexit.register(shutil.rmtree, folder, ignore_errors=True)
