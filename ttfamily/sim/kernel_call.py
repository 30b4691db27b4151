"""A call of an op's kernel, bound to cells: run where the op is called, and again by every replay of a trace."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any

import attrs
import torch

from ttfamily.errors import SimulatorError
from ttfamily.sim.formats import round_to

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ttfamily.sim.tensor import Cell


@attrs.frozen(kw_only=True)
class KernelCall:
    """A kernel call on cells.

    :param op: the ttnn op, for messages.
    :param kernel: computes the outputs' values, or gives back the cell that it wrote to.
    :param inputs: the cells that it reads.
    :param outputs: the cells that get the results; an op in place has its input's here.
    :param shapes: the local shapes that ttnn gives the outputs.
    :param by_golden: whether the kernel is ttnn's golden function, which may drop dimensions of 1 that the op keeps.
    """

    op: str
    kernel: Callable[[], Any]
    inputs: Sequence[Cell]
    outputs: Sequence[Cell]
    shapes: Sequence[tuple[int, ...]]
    by_golden: bool = False

    def __call__(self) -> None:
        """Compute the outputs from what the inputs hold now.

        :raises SimulatorError: if the kernel cannot compute them, or gives other shapes than ttnn.
        """
        values = self._values()
        if len(values) != len(self.outputs):
            raise self._wrong(f"{len(values)} results of its kernel", f"{len(self.outputs)}, as many as ttnn returns")
        for cell, shape, value in zip(self.outputs, self.shapes, values, strict=True):
            if value is not cell:
                self._settle(cell, shape, value)

    def _values(self) -> Sequence[Any]:
        try:
            values = self.kernel()
        except (IndexError, RuntimeError, ValueError) as error:
            what = str(error).splitlines()[0]
            raise self._wrong(
                f"a call that its simulator kernel fails on: {what}", "one that it can compute"
            ) from error
        return values if isinstance(values, (list, tuple)) else [values]

    def _settle(self, cell: Cell, shape: tuple[int, ...], value: torch.Tensor) -> None:
        if self.by_golden and _without_ones(value.shape[2:]) == _without_ones(shape):
            value = value.reshape(*value.shape[:2], *shape)
        if tuple(value.shape[2:]) != shape:
            raise self._wrong(
                f"a kernel result of shape {tuple(value.shape[2:])}", f"{shape}, the shape that ttnn gives the output"
            )
        rounded = round_to(value, cell.dtype)
        if any(source is cell for source in self.inputs):  # in place, or an op that found nothing to do
            held = cell.value
            if held is not None and (_same_view(held, rounded) or (self.by_golden and torch.equal(held, rounded))):
                return
            cell.expect_one_shape()
        cell.write(rounded)
        for source in self.inputs:
            if source is not cell and source.value is not None and same_memory(source.value, cell.read()):
                source.shared = cell.shared = True

    def _wrong(self, got: str, expected: str) -> SimulatorError:
        fix = "Correct the call, or the kernel in ttfamily/sim/ops/ and its test."
        if self.by_golden:
            fix = "ttnn's golden function computed it: call the op another way, or add a kernel to ttfamily/sim/ops/."
        return SimulatorError(self.op, got=got, expected=expected, fix=fix)


def _without_ones(shape: Sequence[int]) -> list[int]:
    return [size for size in shape if size != 1]


# Of a function: reading a signature takes longer than most ops do on a dry mesh.
signature_of = functools.cache(inspect.signature)


def bind(
    op: str, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], *, given: Sequence[Any] = ()
) -> Callable[[], Any]:
    """Bind the arguments of a call of ``op`` to what computes it.

    :param given: what the function takes before the call's own arguments.
    :raises SimulatorError: if it does not take one of them: an argument is never ignored.
    """
    signature = signature_of(function)
    try:
        signature.bind(*given, *args, **kwargs)
    except TypeError as error:
        raise SimulatorError(
            op,
            got=f"a call that the simulated mesh does not take ({error})",
            expected=f"the arguments {', '.join([*signature.parameters][len(given) :])}",
            fix=f"Extend {function.__name__} in {function.__module__}, and its test.",
        ) from error
    return lambda: function(*given, *args, **kwargs)


def _same_view(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two torch tensors show the same elements of one storage in the same order."""
    return a.data_ptr() == b.data_ptr() and a.shape == b.shape and a.stride() == b.stride() and a.dtype == b.dtype


def same_memory(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two torch tensors are views of one storage."""
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()
