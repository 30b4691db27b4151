"""The door that every ttnn op goes through while a simulated or dry mesh is open.

Real ttnn runs the op on the mock cluster: it validates, allocates and lays out. The simulator's
kernel then computes the same op in torch, and its values hang on the output. What the two say of
the output's shape must agree.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import ttnn
from ttnn.decorators import FastOperation

from ttfamily.errors import SimulatorError
from ttfamily.sim import boundary, kernels
from ttfamily.sim.formats import round_to
from ttfamily.sim.tensor import Cell, SimTensor, cell_of
from ttfamily.sim.trace import TraceRecorder

if TYPE_CHECKING:
    from collections.abc import Callable

PLAIN_FUNCTIONS = (
    "begin_trace_capture", "end_trace_capture", "execute_trace", "release_trace", "get_device_tensors",
)  # fmt: skip


class Interpreter:
    """Runs ttnn ops for one open mesh of the mock cluster.

    :param device: the open ttnn mesh.
    :param computes: True for a simulated mesh, False for a dry one (ops are validated and allocated,
        weights are never filled, and reading a result is an error).
    """

    def __init__(self, device: ttnn.MeshDevice, *, computes: bool) -> None:
        self.device = device
        self.mesh_shape: tuple[int, int] = tuple(device.shape)
        self.computes = computes
        self.traces = TraceRecorder(device)
        self._kernels = kernels.load()
        self._inside = False
        self._saved: dict[str, Any] = {}

    def install(self) -> None:
        """Put the interpreter in ttnn's way."""
        self._saved = {"__call__": FastOperation.__call__, **{name: getattr(ttnn, name) for name in PLAIN_FUNCTIONS}}
        real = self._saved["__call__"]

        def door(op: FastOperation, *args: Any, **kwargs: Any) -> Any:
            if self._inside:  # an op that ttnn makes of others: the outer one's kernel speaks for all
                return real(op, *args, **kwargs)
            self._inside = True
            try:
                return self.run(op.python_fully_qualified_name, lambda *a, **k: real(op, *a, **k), args, kwargs)
            finally:
                self._inside = False

        FastOperation.__call__ = door
        for name in ("begin_trace_capture", "end_trace_capture", "execute_trace", "release_trace"):
            setattr(ttnn, name, getattr(self.traces, name))
        ttnn.get_device_tensors = lambda tensor: boundary.device_tensors(self, tensor, self._saved["get_device_tensors"])

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
            return crossing(self, real, args, kwargs)
        with self.traces.only_compiled_programs(name):
            outputs = real(*args, **kwargs)
        if not self.computes:
            return outputs
        step = self._step(name, args, kwargs)
        single = not isinstance(outputs, (list, tuple))
        real_outputs = [outputs] if single else outputs
        if self.traces.capturing:  # as on hardware, a capture computes nothing: the outputs are empty until a replay
            wrapped = [SimTensor.carrying(real_out, Cell(None, real_out.dtype)) for real_out in real_outputs]
            self.traces.record(step, [tensor.cell for tensor in wrapped])
        else:
            values = step()
            values = [values] if single else values
            wrapped = [self._attach(name, *pair) for pair in zip(real_outputs, values, strict=True)]
        return wrapped[0] if single else type(outputs)(wrapped)

    def _step(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], Any]:
        """Bind the op's kernel to the cells of its inputs: calling it computes the op anew."""
        function = self._kernels.get(name)
        if function is None:
            raise SimulatorError(
                name,
                got="an op that the simulated mesh cannot compute",
                expected=f"one of the {len(self._kernels)} ops with a kernel",
                fix="Add a function with @kernel to a module of ttfamily/sim/kernels/, and its test.",
            )
        cells = [_to_cells(name, value) for value in args]
        named = {k: _to_cells(name, v) for k, v in kwargs.items() if k not in kernels.PLACEMENT_ARGUMENTS and v is not None}
        parameters = inspect.signature(function).parameters
        if "mesh_shape" in parameters:
            named["mesh_shape"] = self.mesh_shape
        if "program_config" not in parameters:  # a matmul's may name an activation; others only say how
            named.pop("program_config", None)
        try:
            inspect.signature(function).bind(*cells, **named)
        except TypeError as error:
            raise SimulatorError(
                name,
                got=f"a call that its simulator kernel does not take ({error})",
                expected=f"the arguments {sorted(parameters)}",
                fix=f"Extend {function.__name__} in {function.__module__} and its test.",
            ) from error
        return lambda: function(*cells, **named)

    def _attach(self, name: str, real: ttnn.Tensor, value: Any) -> SimTensor:
        if isinstance(value, Cell):  # computed in place: the output is the input's buffer
            return SimTensor.carrying(real, value)
        if tuple(value.shape[2:]) != tuple(real.shape):
            raise SimulatorError(
                name,
                got=f"a kernel result of shape {tuple(value.shape[2:])}",
                expected=f"{tuple(real.shape)}, the shape that ttnn gives the output",
                fix="The kernel in ttfamily/sim/kernels/ is wrong for this case: correct it and its test.",
            )
        return SimTensor.carrying(real, Cell(round_to(value, real.dtype), real.dtype))


def _to_cells(name: str, value: Any) -> Any:
    if isinstance(value, ttnn.Tensor):
        return cell_of(value, name)
    if isinstance(value, (list, tuple)) and any(isinstance(item, ttnn.Tensor) for item in value):
        return [cell_of(item, name) for item in value]
    return value
