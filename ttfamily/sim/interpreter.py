"""The door that every ttnn op goes through while a simulated or dry mesh is open.

Real ttnn runs the op on the mock cluster: it validates, allocates and lays out. The simulator's
kernel then computes the same op in torch, and its values hang on the output. What the two say of
the output's shape must agree.
"""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any

import ttnn
from ttnn.decorators import FastOperation

from ttfamily.errors import SimulatorError
from ttfamily.sim import boundary, kernels
from ttfamily.sim.step import Step, bind
from ttfamily.sim.tensor import Cell, SimTensor, cell_of
from ttfamily.sim.trace import TraceRecorder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Observer = Callable[[str, tuple[Any, ...], dict[str, Any], Any], None]

TRACE_FUNCTIONS = ("begin_trace_capture", "end_trace_capture", "execute_trace", "release_trace")


class Interpreter:
    """Runs ttnn ops for one open mesh of the mock cluster.

    :param device: the open ttnn mesh.
    :param computes: True for a simulated mesh, False for a dry one (ops are validated and allocated,
        weights are never filled, and reading a result is an error).
    :ivar observer: if not None, called behind every op with its name, its arguments and what it returned.
    """

    observer: Observer | None = None

    def __init__(self, device: ttnn.MeshDevice, *, computes: bool) -> None:
        self.device = device
        self.mesh_shape: tuple[int, int] = tuple(device.shape)
        self.computes = computes
        self.traces = TraceRecorder(device)
        self.split = ttnn.get_device_tensors  # ttnn's own, which knows buffers and no values
        self._kernels = kernels.load()
        self._inside = False
        self._saved: dict[str, Any] = {}

    def install(self) -> None:
        """Put the interpreter in ttnn's way."""
        functions = (*TRACE_FUNCTIONS, "get_device_tensors")
        self._saved = {"__call__": FastOperation.__call__, **{name: getattr(ttnn, name) for name in functions}}
        real = self._saved["__call__"]

        def door(op: FastOperation, *args: Any, **kwargs: Any) -> Any:
            if self._inside:  # an op that ttnn makes of others: the outer one's kernel speaks for all
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

        FastOperation.__call__ = door
        for name in TRACE_FUNCTIONS:
            setattr(ttnn, name, getattr(self.traces, name))
        ttnn.get_device_tensors = lambda tensor: boundary.device_tensors(self, tensor)

    def uninstall(self) -> None:
        """Give ttnn its own functions back."""
        FastOperation.__call__ = self._saved.pop("__call__")
        for name, function in self._saved.items():
            setattr(ttnn, name, function)
        self._saved = {}

    def run(self, name: str, real: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one op: the real one for what is checked, the kernel for what is computed."""
        crossing = boundary.CROSSINGS.get(name)
        if crossing is not None:
            return bind(name, functools.partial(crossing, self, real), args, kwargs)()
        with self.traces.only_compiled_programs(name):
            outputs = real(*args, **kwargs)
        if not self.computes:
            return outputs
        many = isinstance(outputs, (list, tuple))
        kernel = self._kernel(name, args, kwargs)
        inputs = [tensor for value in (*args, *kwargs.values()) for tensor in _tensors(value)]
        tensors = [_carrier(output, inputs) for output in (outputs if many else [outputs])]
        self.traces.perform(
            Step(
                op=name,
                kernel=kernel,
                inputs=[tensor.cell for tensor in inputs],
                outputs=[tensor.cell for tensor in tensors],
                shapes=[tuple(tensor.shape) for tensor in tensors],
            )
        )
        return type(outputs)(tensors) if many else tensors[0]

    def _kernel(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], Any]:
        """Bind the op's kernel to the cells of its inputs."""
        function = self._kernels.get(name)
        if function is None:
            raise SimulatorError(
                name,
                got="an op that the simulated mesh cannot compute",
                expected=f"one of the {len(self._kernels)} ops with a kernel",
                fix="Add a function with @kernel to a module of ttfamily/sim/kernels/, and its test.",
            )
        named = {k: v for k, v in kwargs.items() if k not in kernels.PLACEMENT_ARGUMENTS and v is not None}
        parameters = inspect.signature(function).parameters
        if "mesh_shape" in parameters:
            named["mesh_shape"] = self.mesh_shape
        if "program_config" not in parameters:  # a matmul's may name an activation; most others only say how
            named.pop("program_config", None)
        cells = [_to_cells(name, value) for value in args]
        return bind(name, function, cells, {k: _to_cells(name, v) for k, v in named.items()})


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
            tensor.cell.viewed = cell.viewed = True
    return SimTensor.carrying(output, cell)
