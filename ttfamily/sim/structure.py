"""Tensors within arguments and results, which may be lists and tuples of tensors and of anything else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ttnn

from ttfamily.sim.tensor import cell_of, is_on_device

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ttfamily.sim.tensor import SimTensor


def device_tensors_in(value: Any) -> Iterator[ttnn.Tensor]:
    """The tensors on the device in an argument or a result, in order."""
    if isinstance(value, ttnn.Tensor):
        if is_on_device(value):
            yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from device_tensors_in(item)


def with_tensors(value: Any, tensors: Iterator[SimTensor]) -> Any:
    """The result ``value``, with the next of ``tensors`` for every one that :func:`device_tensors_in` finds in it."""
    if isinstance(value, ttnn.Tensor):
        return next(tensors) if is_on_device(value) else value
    if isinstance(value, (list, tuple)):
        return type(value)(with_tensors(item, tensors) for item in value)
    return value


def to_cells(name: str, value: Any) -> Any:
    """An argument of the op ``name`` for a kernel: a cell for every tensor.

    :raises SimulatorError: if a tensor carries no values.
    """
    if isinstance(value, ttnn.Tensor):
        return cell_of(value, name)
    if isinstance(value, (list, tuple)) and any(isinstance(item, ttnn.Tensor) for item in value):
        return [to_cells(name, item) for item in value]
    return value
