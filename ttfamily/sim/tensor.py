"""A ttnn tensor that carries its values: what the mock cluster lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import ttnn

from ttfamily.errors import SimulatorError

if TYPE_CHECKING:
    import torch


@attrs.define(eq=False)
class Cell:
    """The values behind one device buffer.

    ``value`` has the mesh in front: ``[rows, cols, *local_shape]``. An axis of the mesh along which
    every device holds the same values has size 1, so that replicated work is done once and
    broadcasting does the rest. A recorded trace holds cells, never tensors: a cell keeps no device
    memory alive.
    """

    value: torch.Tensor | None
    dtype: ttnn.DataType

    def read(self) -> torch.Tensor:
        """Return the values, ``[rows | 1, cols | 1, *local_shape]``.

        :raises SimulatorError: if the buffer was freed, or nothing has been computed into it yet.
        """
        if self.value is None:
            raise SimulatorError(
                "simulated tensor",
                got="a tensor that holds nothing: it was deallocated, or a trace that never ran makes it",
                expected="a tensor with values",
                fix="Deallocate it after its last use; execute a trace before reading what it makes.",
            )
        return self.value


class SimTensor(ttnn.Tensor):  # type: ignore[misc]
    """A ttnn tensor that shares its buffer with the one it was made from and carries a :class:`Cell`."""

    cell: Cell

    @classmethod
    def carrying(cls, real: ttnn.Tensor, cell: Cell) -> SimTensor:
        """Wrap ``real``, a tensor on the mock cluster (or on host), so that it carries ``cell``."""
        tensor = cls(real)
        tensor.cell = cell
        return tensor


def cell_of(tensor: ttnn.Tensor, op: str) -> Cell:
    """Return the cell of an op's input.

    :raises SimulatorError: if the tensor carries no values: a tensor *method* made it, which no
        Python code can observe.
    """
    if isinstance(tensor, SimTensor):
        return tensor.cell
    raise SimulatorError(
        op,
        got=f"a tensor of shape {tuple(tensor.shape)} that carries no simulated values",
        expected="a tensor made by a ttnn function (ttnn.reshape(x, ...), not x.reshape(...))",
        fix="Call the function of the ttnn module instead of the tensor's method.",
    )
