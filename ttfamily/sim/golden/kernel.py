"""A kernel made of an op's golden function: it runs on each device's values, once where devices hold the same ones."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import attrs
import torch
import ttnn
from ttnn import decorators

from ttfamily.errors import SimulatorError
from ttfamily.sim.formats import as_host, round_to
from ttfamily.sim.golden.arguments import kept, takes
from ttfamily.sim.golden.limits import NATIVE_DTYPE, PLAIN_ARGUMENTS, UNUSABLE, UNVERSIONED
from ttfamily.sim.golden.replaced import REPLACED
from ttfamily.sim.tensor import cell_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from ttfamily.sim.tensor import Cell

# What a golden function may raise at a call that it does not understand; it is ttnn's code, not ours.
FAILURES = (
    ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, RuntimeError, TypeError, ValueError,
)  # fmt: skip
UNSIGNED = (ttnn.uint16, ttnn.uint32)


@attrs.frozen(eq=False)
class _Operand:
    """Stands for an operand in a call's arguments; a cell keeps no device memory alive, as a tensor would."""

    cell: Cell

    def on(self, row: int, col: int, *, native: bool) -> torch.Tensor:
        """Return a copy of one device's values: the function may write to it.

        :param native: in the operand's own dtype; else floats are float32.
        """
        value = self.cell.read()
        local = value[min(row, value.shape[0] - 1), min(col, value.shape[1] - 1)]
        if local.is_floating_point():
            return local.clone() if native else local.to(torch.float32, copy=True)
        return as_host(local.clone(), self.cell.dtype)

    def write(self, values: torch.Tensor) -> None:
        """Put new values into the cell, ``[rows | 1, cols | 1, *local_shape]``."""
        self.cell.expect_one_shape()
        self.cell.write(round_to(values, self.cell.dtype))


@attrs.frozen(kw_only=True, eq=False)
class _Run:
    """What a golden function did on one device.

    :param results: in order.
    :param operands: what it was given, as it left it.
    :param written: the operands that it wrote to.
    """

    results: Sequence[torch.Tensor]
    operands: Mapping[_Operand, torch.Tensor]
    written: Collection[_Operand]


@attrs.frozen(kw_only=True, eq=False)
class GoldenKernel:
    """A call of a golden function, bound to cells.

    :param name: the op, ``ttnn.softmax``.
    :param function: its golden function.
    :param args: with an :class:`_Operand` for every tensor.
    :param kwargs: likewise.
    """

    name: str
    function: Callable[..., Any]
    args: Sequence[Any]
    kwargs: Mapping[str, Any]

    def __call__(self) -> list[torch.Tensor]:
        """Return the results, each ``[rows | 1, cols | 1, *local_shape]``; write the operands that the function writes.

        :raises SimulatorError: if the function fails on the call, or its result is marked as meaningless.
        """
        operands = list(_operands((self.args, self.kwargs)))
        rows, cols = (max((item.cell.read().shape[axis] for item in operands), default=1) for axis in (0, 1))
        runs = [[self._on(row, col) for col in range(cols)] for row in range(rows)]
        for operand in operands:
            if any(operand in run.written for row in runs for run in row):
                operand.write(_over_mesh([[run.operands[operand] for run in row] for row in runs]))
        count = len(runs[0][0].results)
        if not count:
            raise unusable(self.name, "it gives no result for this call")
        return [_over_mesh([[run.results[i] for run in row] for row in runs]) for i in range(count)]

    def _on(self, row: int, col: int) -> _Run:
        try:
            return self._run(row, col, widened=False)
        except FAILURES as error:
            # torch has few ops of its unsigned types; most golden functions widen them, some leave it to the caller.
            unsigned = any(item.cell.dtype in UNSIGNED for item in _operands((self.args, self.kwargs)))
            if not (unsigned and "uint" in str(error).lower()):
                raise self._failed(error) from error
        try:
            return self._run(row, col, widened=True)
        except FAILURES as error:
            raise self._failed(error) from error

    def _run(self, row: int, col: int, *, widened: bool) -> _Run:
        native = self.name.removeprefix("ttnn.") in NATIVE_DTYPE
        values = {item: item.on(row, col, native=native) for item in _operands((self.args, self.kwargs))}
        if widened:
            values = {item: x.to(torch.int64) if item.cell.dtype in UNSIGNED else x for item, x in values.items()}
        args, kwargs = _replaced((list(self.args), dict(self.kwargs)), values)
        if self.name.endswith("_bw"):
            args, kwargs = decorators.prepare_backward_golden_inputs((args, kwargs))
        before = {item: value._version for item, value in values.items()}  # noqa: SLF001 -- torch has no other name
        with torch.set_grad_enabled(self.name.endswith(("_bw", "_backward"))):
            result = self.function(*args, **kwargs)
        written = {item for item, value in values.items() if value._version != before[item]}  # noqa: SLF001
        if self.name.removeprefix("ttnn.") in UNVERSIONED:
            written |= {x for x, value in values.items() if not torch.equal(value, x.on(row, col, native=native))}
        return _Run(results=[self._checked(part) for part in _flat(result)], operands=values, written=written)

    def _checked(self, result: torch.Tensor) -> torch.Tensor:
        config = getattr(result, "_ttnn_comparison_config", None)
        if config is not None and config.method == "skip":
            raise unusable(self.name, "ttnn marks its result as one that says nothing about the op's")
        if result.is_complex():
            raise unusable(self.name, "its result is complex")
        return result

    def _failed(self, error: Exception) -> SimulatorError:
        what = str(error).splitlines()[0] if str(error) else type(error).__name__
        return SimulatorError(
            self.name,
            got=f"a call that ttnn's golden function of this op fails on: {what}",
            expected="one that it can compute",
            fix="Call the op another way, or add a kernel of it to ttfamily/sim/ops/, and its test.",
        )


def golden_kernel(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> GoldenKernel:
    """Bind the golden function of the ttnn op ``name`` to a call's arguments.

    :raises SimulatorError: if ttnn brings none, it cannot stand for the op, or would drop an argument that counts.
    """
    op = operations().get(name)
    short = name.removeprefix("ttnn.")
    function = REPLACED.get(short) or (op and op.golden_function)
    if op is None or function is None:
        raise _unknown(name, "an op with neither a kernel of ttfamily nor a golden function of ttnn")
    if short in UNUSABLE:
        raise unusable(name, UNUSABLE[short])
    # Where a result goes is seen by the buffer that ttnn returns; some golden functions ask which ones there are.
    outputs = op.output_tensor_kwarg_names
    given = {key: value for key, value in kwargs.items() if key not in outputs or takes(function, key)}
    ready, named = _prepared(op, args, given)
    positional, known = kept(name, function, ready, named)
    if getattr(function, "_ttnn_mutates_global_inputs", False):  # it writes to what it is given only if told to
        known["_ttnn_global_golden"] = True
    return GoldenKernel(name=name, function=function, args=positional, kwargs=known)


@functools.cache
def operations() -> Mapping[str, Any]:
    """Every registered op of ttnn by its name."""
    known = decorators.query_registered_operations(include_experimental=True)
    return {op.python_fully_qualified_name: op for op in known}


def unusable(name: str, why: str) -> SimulatorError:
    """The error of an op without a kernel of ours, whose golden function does not say what it computes."""
    return _unknown(name, f"an op without a kernel of ttfamily, and ttnn's golden function cannot stand for it: {why}")


def _unknown(name: str, got: str) -> SimulatorError:
    return SimulatorError(
        name,
        got=got,
        expected="an op that the simulated mesh computes",
        fix="Add its kernel to a module of ttfamily/sim/ops/, with @op(...) over it, and its test.",
    )


def _prepared(op: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Give the arguments the form that ttnn's comparison mode gives them, with an operand for every tensor."""
    name = op.python_fully_qualified_name
    prepare = op.preprocess_golden_function_inputs
    if prepare is None or name.removeprefix("ttnn.") in PLAIN_ARGUMENTS:
        prepare = decorators.default_preprocess_golden_function_inputs
    read = decorators.to_torch_for_comparison
    decorators.to_torch_for_comparison = lambda tensor, *_, **__: _Operand(cell_of(tensor, name))
    try:
        ready, named = prepare(tuple(args), dict(kwargs))
    except FAILURES as error:
        raise unusable(name, f"its preparation fails on this call ({error})") from error
    finally:
        decorators.to_torch_for_comparison = read
    return [_plain(item) for item in ready], {key: _plain(item) for key, item in named.items()}


def _plain(value: Any) -> Any:
    """Ttnn's shapes are tuples to torch."""
    return tuple(value) if isinstance(value, ttnn.Shape) else value


def _operands(value: Any) -> Iterator[_Operand]:
    if isinstance(value, _Operand):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _operands(item)
    elif isinstance(value, dict):
        yield from _operands(list(value.values()))


def _replaced(value: Any, by: Mapping[_Operand, torch.Tensor]) -> Any:
    if isinstance(value, _Operand):
        return by[value]
    if isinstance(value, (list, tuple)):
        return type(value)(_replaced(item, by) for item in value)
    if isinstance(value, dict):
        return {key: _replaced(item, by) for key, item in value.items()}
    return value


def _over_mesh(parts: Sequence[Sequence[torch.Tensor]]) -> torch.Tensor:
    return torch.stack([torch.stack([part.detach() for part in row]) for row in parts])


def _flat(result: Any) -> list[torch.Tensor]:
    """The tensors of a result, in order; None stands for an output that was not asked for."""
    if isinstance(result, torch.Tensor):
        return [result]
    if isinstance(result, (list, tuple)):
        return [tensor for item in result for tensor in _flat(item)]
    if result is None:
        return []
    return [torch.as_tensor(result)]
