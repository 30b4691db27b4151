"""Every ttnn op while a simulated or dry mesh is open: validated by real ttnn, computed by its simulator kernel.

Real ttnn runs the op on the mock cluster: it validates, allocates and lays out. The simulator's
kernel then computes the same op in torch, and its values hang on the output. What the two say of
the output's shape must agree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ttnn
from ttnn.decorators import FastOperation

from ttfamily.sim import boundary
from ttfamily.sim.kernel_call import KernelCall, bind, signature_of
from ttfamily.sim.mock_mesh import MockMesh
from ttfamily.sim.table import ROWS, row_of
from ttfamily.sim.tensor import Cell, SimTensor, cell_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ttfamily.arch import Arch
    from ttfamily.sim.mock_mesh import Numerics
    from ttfamily.sim.row import Row

    Observer = Callable[[str, tuple[Any, ...], dict[str, Any], Any], None]

TRACE_FUNCTIONS = ("begin_trace_capture", "end_trace_capture", "execute_trace", "release_trace")
# Arguments that mostly say where and how fast, not what: only a kernel that names one gets it.
PLACEMENT_ARGUMENTS = frozenset({
    "compute_kernel_config", "core_grid", "cq_id", "memory_config", "num_links", "program_config", "queue_id",
    "sub_core_grids", "subdevice_id", "topology", "use_multicore",
})  # fmt: skip


class Interpreter:
    """Runs ttnn ops for one open mesh of the mock cluster.

    :param device: the open ttnn mesh.
    :param computes: as of :class:`~ttfamily.sim.mock_mesh.MockMesh`; the rest too.
    :ivar observer: if not None, called after every op with its name, its arguments and what it returned.
    """

    observer: Observer | None = None

    def __init__(
        self, device: ttnn.MeshDevice, *, computes: bool, numerics: Numerics = "fast", arch: Arch = "wormhole_b0"
    ) -> None:
        self.mesh = MockMesh(device, computes=computes, numerics=numerics, arch=arch)
        self._rows: Mapping[str, Row] = ROWS
        self._inside = False
        self._saved: dict[str, Any] = {}

    def install(self) -> None:
        """Patch ttnn so that every op goes through :meth:`run`."""
        functions = (*TRACE_FUNCTIONS, "get_device_tensors")
        self._saved = {"__call__": FastOperation.__call__, **{name: getattr(ttnn, name) for name in functions}}
        real = self._saved["__call__"]

        def call(op: FastOperation, *args: Any, **kwargs: Any) -> Any:
            if self._inside:  # nested call: the outer op's kernel covers it
                return real(op, *args, **kwargs)
            self._inside = True
            name = op.python_fully_qualified_name
            try:
                outputs = self.run(name, lambda *a, **k: real(op, *a, **k), args, kwargs)
                if self.observer is not None:
                    self.observer(name, args, kwargs, outputs)
                return outputs
            finally:
                self._inside = False

        FastOperation.__call__ = call
        for name in TRACE_FUNCTIONS:
            setattr(ttnn, name, getattr(self.mesh.traces, name))
        ttnn.get_device_tensors = lambda tensor: boundary.device_tensors(self.mesh, tensor)

    def uninstall(self) -> None:
        """Give ttnn its own functions back."""
        FastOperation.__call__ = self._saved.pop("__call__")
        for name, function in self._saved.items():
            setattr(ttnn, name, function)
        self._saved = {}

    def run(self, name: str, real: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one op: the real one for what is checked, the kernel for what is computed."""
        row = self._rows.get(name.removeprefix("ttnn."))
        if row is not None and row.crossing:
            return bind(name, row.kernel, args, kwargs, given=(self.mesh, real))()
        with self.mesh.traces.only_compiled_programs(name):
            outputs = real(*args, **kwargs)
        if not self.mesh.computes:
            return outputs
        many = isinstance(outputs, (list, tuple))
        kernel = self._kernel(name, args, kwargs)
        inputs = [tensor for value in (*args, *kwargs.values()) for tensor in _tensors(value)]
        tensors = [_carrier(output, inputs) for output in (outputs if many else [outputs])]
        self.mesh.traces.perform(
            KernelCall(
                op=name,
                kernel=kernel,
                inputs=[tensor.cell for tensor in inputs],
                outputs=[tensor.cell for tensor in tensors],
                shapes=[tuple(tensor.shape) for tensor in tensors],
            )
        )
        return type(outputs)(tensors) if many else tensors[0]

    def _kernel(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], Any]:
        """Bind the op's kernel to the cells of its inputs.

        :raises SimulatorError: if the op has no row, or its kernel does not take one of the arguments.
        """
        kernel = row_of(name, self._rows).kernel
        parameters = signature_of(kernel).parameters
        dropped = PLACEMENT_ARGUMENTS.difference(parameters)
        named = {k: v for k, v in kwargs.items() if k not in dropped and v is not None}
        facts = {"mesh_shape": self.mesh.shape, "numerics": self.mesh.numerics, "arch": self.mesh.arch}
        named.update({k: v for k, v in facts.items() if k in parameters})
        cells = [_to_cells(name, value) for value in args]
        return bind(name, kernel, cells, {k: _to_cells(name, v) for k, v in named.items()})


def _tensors(value: Any) -> Iterator[ttnn.Tensor]:
    if isinstance(value, ttnn.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        yield from (item for item in value if isinstance(item, ttnn.Tensor))


def _to_cells(name: str, value: Any) -> Any:
    if isinstance(value, ttnn.Tensor):
        return cell_of(value, name)
    if isinstance(value, (list, tuple)) and any(isinstance(item, ttnn.Tensor) for item in value):
        return [cell_of(item, name) for item in value]
    return value


def _carrier(output: ttnn.Tensor, inputs: list[SimTensor]) -> SimTensor:
    """Make an op's output carry a cell: a new one, or its input's where it is its input's buffer.

    That is so of an op in place, and of one that finds its input as it should be.
    """
    buffer, cell = output.buffer_unique_id(), Cell(None, output.dtype)
    for tensor in inputs:
        if buffer is not None and tensor.buffer_unique_id() == buffer:
            if tensor.shape == output.shape:
                return SimTensor.carrying(output, tensor.cell)
            shapes = [*(other for other in tensor.cell.shapes or [tensor.cell] if other.holders), cell]
            for other in shapes:
                other.shapes = shapes
    return SimTensor.carrying(output, cell)
