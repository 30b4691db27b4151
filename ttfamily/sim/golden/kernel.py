"""A kernel made of an op's golden function: it runs on each device's values, once where devices hold the same ones."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import attrs
import torch
import ttnn
from ttnn import decorators

from ttfamily.errors import SimulatorError
from ttfamily.sim.formats import as_host
from ttfamily.sim.golden.arguments import kept
from ttfamily.sim.golden.limits import NATIVE_DTYPE, PLAIN_ARGUMENTS, UNUSABLE
from ttfamily.sim.tensor import cell_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ttfamily.sim.tensor import Cell

# What a golden function may raise at a call that it does not understand; it is ttnn's code, not ours.
FAILURES = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
UNSIGNED = (torch.uint16, torch.uint32)


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
        """Return the results, each ``[rows | 1, cols | 1, *local_shape]``.

        :raises SimulatorError: if the function fails on the call, or its result is marked as meaningless.
        """
        operands = [item.cell.read() for item in _operands((self.args, self.kwargs))]
        rows, cols = (max((value.shape[axis] for value in operands), default=1) for axis in (0, 1))
        results = [[self._on(row, col) for col in range(cols)] for row in range(rows)]
        count = len(results[0][0])
        return [torch.stack([torch.stack([cell[i] for cell in row]) for row in results]) for i in range(count)]

    def _on(self, row: int, col: int) -> list[torch.Tensor]:
        try:
            return self._run(row, col, widened=False)
        except FAILURES as error:
            # torch has few ops of its unsigned types; most golden functions widen them, some leave it to the caller.
            if "uint" not in str(error).lower() or not any(
                self._value(item, row, col).dtype in UNSIGNED for item in _operands((self.args, self.kwargs))
            ):
                raise self._failed(error) from error
        try:
            return self._run(row, col, widened=True)
        except FAILURES as error:
            raise self._failed(error) from error

    def _run(self, row: int, col: int, *, widened: bool) -> list[torch.Tensor]:
        def value(operand: _Operand) -> torch.Tensor:
            found = self._value(operand, row, col)
            return found.to(torch.int64) if widened and found.dtype in UNSIGNED else found

        args, kwargs = _replaced((list(self.args), dict(self.kwargs)), value)
        if self.name.endswith("_bw"):
            args, kwargs = decorators.prepare_backward_golden_inputs((args, kwargs))
            with torch.enable_grad():
                result = self.function(*args, **kwargs)
        else:
            result = self.function(*args, **kwargs)
        return [self._checked(part) for part in _flat(result)]

    def _value(self, operand: _Operand, row: int, col: int) -> torch.Tensor:
        return operand.on(row, col, native=self.name.removeprefix("ttnn.") in NATIVE_DTYPE)

    def _checked(self, result: torch.Tensor) -> torch.Tensor:
        config = getattr(result, "_ttnn_comparison_config", None)
        if config is not None and config.method == "skip":
            raise unusable(self.name, "ttnn marks its result as one that says nothing about the op's")
        if result.is_complex():
            raise unusable(self.name, "its result is complex")
        return result.detach()

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
    if op is None or op.golden_function is None:
        raise _unknown(name, "an op with neither a kernel of ttfamily nor a golden function of ttnn")
    short = name.removeprefix("ttnn.")
    if short in UNUSABLE:
        raise unusable(name, UNUSABLE[short])
    given = {key: value for key, value in kwargs.items() if key not in op.output_tensor_kwarg_names}
    ready, named = _prepared(op, args, given)
    positional, known = kept(name, op.golden_function, ready, named)
    return GoldenKernel(name=name, function=op.golden_function, args=positional, kwargs=known)


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
    """ttnn's shapes are tuples to torch."""
    return tuple(value) if isinstance(value, ttnn.Shape) else value


def _operands(value: Any) -> Iterator[_Operand]:
    if isinstance(value, _Operand):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _operands(item)
    elif isinstance(value, dict):
        yield from _operands(list(value.values()))


def _replaced(value: Any, by: Callable[[_Operand], torch.Tensor]) -> Any:
    if isinstance(value, _Operand):
        return by(value)
    if isinstance(value, (list, tuple)):
        return type(value)(_replaced(item, by) for item in value)
    if isinstance(value, dict):
        return {key: _replaced(item, by) for key, item in value.items()}
    return value


def _flat(result: Any) -> list[torch.Tensor]:
    """The tensors of a result, in order; None stands for an output that was not asked for."""
    if isinstance(result, torch.Tensor):
        return [result]
    if isinstance(result, (list, tuple)):
        return [tensor for item in result for tensor in _flat(item)]
    if result is None:
        return []
    return [torch.as_tensor(result)]
