"""A ttnn tensor that carries its values: what the mock cluster lacks."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import attrs
import torch
import ttnn

from ttfamily.errors import SimulatorError
from ttfamily.sim.formats import round_to

if TYPE_CHECKING:
    from collections.abc import Callable

    from ttfamily.sim.memory import Allocation


@attrs.define(eq=False)
class Cell:
    """The values of one device buffer.

    ``value`` has the mesh in front: ``[rows, cols, *local_shape]``. An axis of the mesh along which
    every device holds the same values has size 1, so that replicated work is done once and
    broadcasting does the rest. A recorded trace holds cells, never tensors: a cell keeps no device
    memory alive.

    :param shared: whether another cell or a host tensor may use the same torch memory: a write copies first.
    :param holders: the tensors that carry it and are still in use.
    :param shapes: the cells that stand for the same device buffer, each with a shape of its own, this one among them.
    :param allocation: of the buffer; None for a tensor on the host.
    :param overwritten: what a replay wrote over the values, and of which trace; None while they stand.
    :param freed: ``file:line`` of the call that deallocated the buffer, if one did.
    """

    value: torch.Tensor | None
    dtype: ttnn.DataType
    shared: bool = False
    holders: weakref.WeakSet[SimTensor] = attrs.field(factory=weakref.WeakSet, repr=False)
    shapes: list[Cell] = attrs.field(factory=list, repr=False)
    allocation: Allocation | None = attrs.field(default=None, repr=False)
    overwritten: tuple[Allocation, int] | None = attrs.field(default=None, repr=False)
    freed: str | None = attrs.field(default=None, repr=False)

    @property
    def whole(self) -> Cell:
        """The cell of all devices: this one, but for a part."""
        return self

    @property
    def live(self) -> bool:
        """Whether its buffer is allocated: some tensor, of this shape or another, still holds it."""
        return any(tensor.is_allocated() for cell in self.shapes or [self] for tensor in cell.holders)

    def read(self) -> torch.Tensor:
        """Return the values, ``[rows | 1, cols | 1, *local_shape]``.

        :raises SimulatorError: if the buffer was freed, nothing has been computed into it yet, or a replay has
            written over it.
        """
        whole = self.whole
        if whole.overwritten is not None:
            writer, trace = whole.overwritten
            raise SimulatorError(
                "simulated tensor",
                got=f"a read of {whole.allocation}, which a replay of trace {trace} has overwritten with {writer}",
                expected="a buffer that no trace writes: one that was allocated before the capture",
                fix="Allocate it before the capture begins, free it before the next replay, or release the trace.",
            )
        if self.value is None:
            where = "" if whole.freed is None else f" at {whole.freed}"
            raise SimulatorError(
                "simulated tensor",
                got=f"a tensor that holds nothing: it was deallocated{where}, or a trace that never ran makes it",
                expected="a tensor with values",
                fix="Deallocate it after its last use; execute a trace before reading what it makes.",
            )
        return self.value

    def write(self, value: torch.Tensor) -> None:
        """Take new values, all of them: whatever was there before is gone."""
        self.value = value
        self.whole.overwritten = None

    def own(self, rows: int, cols: int) -> torch.Tensor:
        """Return the values for an op that writes in place, ``[rows, cols, *local_shape]``.

        Every device gets a copy of its own, and no other tensor sees what is written.

        :raises SimulatorError: if a tensor with another shape stands for the buffer too, where the write would be
            missed.
        """
        self.expect_one_shape()
        value = self.read()
        if self.shared or value.shape[:2] != (rows, cols) or not value.is_contiguous():
            self.value = value.expand(rows, cols, *value.shape[2:]).clone(memory_format=torch.contiguous_format)
            self.shared = False
        return self.read()

    def expect_one_shape(self) -> None:
        """Refuse a write that a tensor with another shape, which stands for the buffer too, would miss.

        :raises SimulatorError: if there is one.
        """
        if any(other is not self and other.holders for other in self.shapes):
            raise SimulatorError(
                "simulated tensor",
                got="a write into a buffer that ttnn.reshape gave another shape without a copy",
                expected="a buffer with one shape",
                fix="Write before the reshape, or reshape a ttnn.clone.",
            )


class Part(Cell):
    """One device's part of a tensor: it looks into the whole tensor's cell, as the buffer is the whole one's."""

    def __init__(self, whole: Cell, row: int, col: int) -> None:
        self._whole, self._place = whole, (row, col)
        self.dtype = whole.dtype

    @property
    def whole(self) -> Cell:
        """The cell that it is a part of."""
        return self._whole

    @property
    def value(self) -> torch.Tensor | None:
        """``[1, 1, *local_shape]``."""
        value = self.whole.value
        if value is None:
            return None
        row, col = (min(place, size - 1) for place, size in zip(self._place, value.shape[:2], strict=True))
        return value[row, col][None, None]

    @value.setter
    def value(self, value: torch.Tensor | None) -> None:
        if value is not None:
            self.expect_one_shape()
        self.whole.value = None

    def expect_one_shape(self) -> None:
        """Refuse every write: the buffer is the whole tensor's.

        :raises SimulatorError: always.
        """
        raise SimulatorError(
            "simulated tensor",
            got="a write into one device's part of a tensor",
            expected="ops on the whole tensor",
            fix="Write to the tensor that ttnn.get_device_tensors took apart.",
        )

    @property
    def shared(self) -> bool:
        """A part is a view of the whole."""
        return True

    @shared.setter
    def shared(self, shared: bool) -> None:
        self.whole.shared |= shared

    @property
    def holders(self) -> weakref.WeakSet[SimTensor]:
        """Those of the whole."""
        return self.whole.holders

    @holders.setter
    def holders(self, holders: weakref.WeakSet[SimTensor]) -> None:
        self.whole.holders = holders

    @property
    def shapes(self) -> list[Cell]:
        """Those of the whole."""
        return self.whole.shapes

    @shapes.setter
    def shapes(self, shapes: list[Cell]) -> None:
        self.whole.shapes = shapes


def same_everywhere(cell: Cell) -> torch.Tensor:
    """Return the values of one device, where an op's shape or mask follows from them: ``[*local_shape]``.

    :raises SimulatorError: if another device holds other values.
    """
    values = cell.read()
    if not (values == values[:1, :1]).all():
        raise SimulatorError(
            "simulated tensor",
            got="an index tensor with other values on other devices",
            expected="the same on every device",
            fix="Add the case to the op's kernel in ttfamily/sim/ops/, and its test.",
        )
    return values[0, 0]


class SimTensor(ttnn.Tensor):
    """A ttnn tensor that shares its buffer with the one it was made from and carries a :class:`Cell`."""

    cell: Cell

    @classmethod
    def carrying(cls, real: ttnn.Tensor, cell: Cell) -> SimTensor:
        """Wrap ``real``, a tensor on the mock cluster (or on host), so that it carries ``cell``."""
        tensor = cls(real)
        tensor.cell = cell
        cell.holders.add(tensor)
        return tensor

    def __repr__(self) -> str:
        return f"SimTensor({tuple(self.shape)}, {self.dtype.name}, {self.layout.name}, {self.cell.value})"


def is_on_device(tensor: ttnn.Tensor) -> bool:
    """Whether a tensor is on the mock cluster, and not on the host."""
    return bool(tensor.storage_type() == ttnn.StorageType.DEVICE)


def _refusing(name: str) -> Callable[..., Any]:
    """Make a method that reads a buffer of the mock cluster an error: it would read zeros."""
    method = getattr(ttnn.Tensor, name)

    def read(self: SimTensor, *args: Any, **kwargs: Any) -> Any:
        if is_on_device(self):
            raise SimulatorError(
                f"ttnn.Tensor.{name}",
                got="a tensor of the simulated mesh, whose values are not in its buffer",
                expected="ttnn.to_torch(x)",
                fix="Call the function of the ttnn module instead of the tensor's method.",
            )
        return method(self, *args, **kwargs)

    return read


for _name in ("extract_shard", "pad", "pad_to_tile", "to_torch_with_padded_shape", "unpad", "unpad_from_tile"):
    setattr(SimTensor, _name, _refusing(_name))


def cell_of(tensor: ttnn.Tensor, op: str) -> Cell:
    """Return the cell of an op's input.

    :raises SimulatorError: if the tensor is on the device and carries no values: C++ made it where no Python code
        can observe it.
    """
    if isinstance(tensor, SimTensor):
        return tensor.cell
    if not is_on_device(tensor):
        return _host_cell(tensor)
    raise SimulatorError(
        op,
        got=f"a tensor of shape {tuple(tensor.shape)} that carries no simulated values",
        expected="one that a ttnn function, or a method of such a tensor, made while the mesh was open",
        fix="Make it with ttnn.from_torch, or with ttnn.to_device from a host tensor.",
    )


def _host_cell(tensor: ttnn.Tensor) -> Cell:
    """Return a new cell with the values of a host tensor, which has them in its buffers, one for each shard."""
    parts = ttnn._ttnn.multi_device.get_device_tensors(tensor)  # noqa: SLF001 -- ttnn's own stands for devices' values
    shards = [round_to(part.to_torch(), tensor.dtype) for part in parts]
    if all(torch.equal(shard, shards[0]) for shard in shards[1:]):
        return Cell(shards[0][None, None], tensor.dtype)
    shape = tuple(tensor.host_buffer().shape())
    return Cell(torch.stack(shards).unflatten(0, (1, *shape)[-2:]), tensor.dtype)
