"""Every ttnn op while a simulated or dry mesh is open: validated by real ttnn, computed by its simulator kernel.

Real ttnn runs the op on the mock cluster: it validates, allocates and lays out. The simulator's
kernel then computes the same op in torch, and its values hang on the output. What the two say of
the output's shape must agree.
"""

from __future__ import annotations

import contextlib
import functools
from types import FunctionType
from typing import TYPE_CHECKING, Any

import ttnn
from ttnn.decorators import FastOperation

from ttfamily.errors import SimulatorError
from ttfamily.sim import boundary, methods
from ttfamily.sim.golden.kernel import GoldenKernel, golden_kernel
from ttfamily.sim.kernel_call import KernelCall, bind, signature_of
from ttfamily.sim.mock_mesh import MockMesh
from ttfamily.sim.structure import device_tensors_in, to_cells, with_tensors
from ttfamily.sim.table import ROWS
from ttfamily.sim.tensor import Cell, SimTensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ttfamily.arch import Arch
    from ttfamily.sim.mock_mesh import Numerics
    from ttfamily.sim.row import Row

    Observer = Callable[[str, tuple[Any, ...], dict[str, Any], Any], None]

TRACE_FUNCTIONS = ("begin_trace_capture", "end_trace_capture", "execute_trace", "release_trace")
TENSOR_FUNCTIONS = ("aggregate_tensor", "combine_device_tensors", "distribute_tensor", "get_device_tensors")
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
        self._inside = self._rehearsing = False
        self._saved: dict[str, Any] = {}
        self._methods: dict[str, Any] = {}

    def install(self) -> None:
        """Patch ttnn so that every op goes through :meth:`run`."""
        functions = (*TRACE_FUNCTIONS, *TENSOR_FUNCTIONS)
        self._saved = {"__call__": FastOperation.__call__, **{name: getattr(ttnn, name) for name in functions}}
        self._methods = {name: getattr(ttnn.Tensor, name) for name in methods.METHODS}
        real = self._saved["__call__"]

        def call(op: FastOperation, *args: Any, **kwargs: Any) -> Any:
            name = op.python_fully_qualified_name
            # A nested call: the outer op's kernel covers it. An op that is written in Python is the ops that it calls.
            written_in_python = isinstance(op.function, FunctionType)
            if self._inside or (written_in_python and name.removeprefix("ttnn.") not in self._rows):
                return real(op, *args, **kwargs)
            self._inside = True
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
        saved = self._saved
        ttnn.get_device_tensors = lambda tensor: boundary.device_tensors(self.mesh, tensor)
        ttnn.combine_device_tensors = lambda *args, **kwargs: boundary.combine(
            self.mesh, saved["combine_device_tensors"], *args, **kwargs
        )
        ttnn.aggregate_tensor = functools.partial(methods.aggregate, saved["aggregate_tensor"])
        ttnn.distribute_tensor = functools.partial(methods.distribute, saved["distribute_tensor"])
        for name in methods.METHODS:
            setattr(ttnn.Tensor, name, methods.watched_method(name, lambda: self._inside))

    def uninstall(self) -> None:
        """Give ttnn its own functions back."""
        FastOperation.__call__ = self._saved.pop("__call__")
        for name, function in self._saved.items():
            setattr(ttnn, name, function)
        for name, method in self._methods.items():
            setattr(ttnn.Tensor, name, method)
        self._saved, self._methods = {}, {}

    def run(self, name: str, real: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one op: the real one for what is checked, the kernel for what is computed."""
        row = self._rows.get(name.removeprefix("ttnn."))
        if row is not None and row.crossing:
            made = bind(name, row.kernel, args, kwargs, given=(self.mesh, real))()
            for tensor in device_tensors_in(made):
                self._note(name, tensor)
            return made
        if row is None:
            _expect_allocated(name, (args, *kwargs.values()))
        with self.mesh.traces.only_compiled_programs(name):
            outputs = real(*args, **kwargs)
        if not self.mesh.computes:
            return outputs
        inputs = [tensor for value in (*args, *kwargs.values()) for tensor in device_tensors_in(value)]
        made = list(device_tensors_in(outputs))
        if not (inputs or made):  # what the host computes is real
            return outputs
        kernel = self._kernel(name, args, kwargs)
        carriers = [_carrier(output, inputs) for output in made]
        call = KernelCall(
            op=name,
            kernel=kernel,
            inputs=[tensor.cell for tensor in inputs],
            outputs=[tensor.cell for tensor in carriers],
            shapes=[tuple(tensor.shape) for tensor in carriers],
            by_golden=isinstance(kernel, GoldenKernel),
        )
        if self.mesh.traces.capturing is not None:
            self.mesh.traces.capturing.note(call)
        for tensor in carriers:
            self._note(name, tensor)
        if not self._rehearsing:
            self.mesh.traces.perform(call)
        return with_tensors(outputs, iter(carriers))

    @contextlib.contextmanager
    def rehearsal(self) -> Iterator[None]:
        """Compute nothing meanwhile: ops are validated, compiled and allocated, and what they make holds nothing."""
        before, self._rehearsing = self._rehearsing, True
        try:
            yield
        finally:
            self._rehearsing = before

    def _note(self, name: str, tensor: ttnn.Tensor) -> None:
        """Note the buffer that an op returned, and that the open capture's replays will write it."""
        if isinstance(tensor, SimTensor):
            trace = self.mesh.traces.capturing
            allocation = self.mesh.allocations.note(name, tensor, None if trace is None else trace.id)
            if trace is not None and allocation is not None:
                trace.allocations.append(allocation)

    def _kernel(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], Any]:
        """Bind what computes the op to the cells of its inputs: its own kernel, else ttnn's golden function.

        :raises SimulatorError: if the op has neither, or it does not take one of the arguments.
        """
        row = self._rows.get(name.removeprefix("ttnn."))
        if row is None:
            return golden_kernel(name, args, kwargs)
        kernel = row.kernel
        parameters = signature_of(kernel).parameters
        dropped = PLACEMENT_ARGUMENTS.difference(parameters)
        named = {k: v for k, v in kwargs.items() if k not in dropped and v is not None}
        facts = {"mesh_shape": self.mesh.shape, "numerics": self.mesh.numerics, "arch": self.mesh.arch}
        named.update({k: v for k, v in facts.items() if k in parameters})
        cells = [to_cells(name, value) for value in args]
        try:
            return bind(name, kernel, cells, {k: to_cells(name, v) for k, v in named.items()})
        except SimulatorError as untaken:
            try:
                return golden_kernel(name, args, kwargs)
            except SimulatorError:
                raise untaken from None  # of the two, the one that says what our kernel takes


def _expect_allocated(name: str, arguments: Any) -> None:
    """Refuse a tensor whose buffer was freed: many of ttnn's ops do not look, and end the process."""
    if any(not tensor.is_allocated() for tensor in device_tensors_in(arguments)):
        raise SimulatorError(
            name,
            got="a tensor that was deallocated",
            expected="tensors that are allocated",
            fix="Deallocate it after its last use.",
        )


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
