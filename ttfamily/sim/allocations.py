"""Every buffer of the open mesh that tensors with values have, in the order of their allocation."""

from __future__ import annotations

import weakref
from bisect import bisect_left
from typing import TYPE_CHECKING

import ttnn

from ttfamily.sim.memory import Allocation, Span, caller

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ttfamily.sim.tensor import Cell, SimTensor


PRUNED = 1024  # cells of freed buffers that are kept at the least before the dead are dropped


class Allocations:
    """The buffers of an open mesh.

    :ivar count: how many there have been.
    """

    def __init__(self, device: ttnn.MeshDevice) -> None:
        self._banks = {
            kind: ttnn.get_memory_view(device, getattr(ttnn.BufferType, kind)).num_banks for kind in ("DRAM", "L1")
        }
        self.count, self._prune_at = 0, PRUNED
        self._cells: list[tuple[int, weakref.ref[Cell]]] = []

    def note(self, op: str, tensor: SimTensor, trace: int | None) -> Allocation | None:
        """Note what an op returned.

        :param trace: whose capture is open, or None.
        :returns: the allocation, if its buffer is a new one on the device.
        """
        cell = tensor.cell.whole
        if tensor.storage_type() != ttnn.StorageType.DEVICE:
            return None
        known = cell.allocation
        for alias in () if known else cell.shapes:  # the same buffer in another shape
            known = known or alias.whole.allocation
        new = known is None
        if known is None:
            known = Allocation(
                number=self.count,
                op=op,
                shape=tuple(tensor.shape),
                caller=caller(),
                trace=trace,
                span=Span.of(tensor, self._banks.get(tensor.memory_config().buffer_type.name, 1)),
            )
            self.count += 1
        if cell.allocation is None:
            cell.allocation = known
            self._cells.append((known.number, weakref.ref(cell)))
            if len(self._cells) > self._prune_at:
                self._cells = [entry for entry in self._cells if entry[1]() is not None]
                self._prune_at = 2 * len(self._cells) + PRUNED
        return known if new else None

    def since(self, number: int) -> Iterator[Cell]:
        """Go through the cells that are alive and whose buffers were allocated from ``number`` on."""
        first = bisect_left(self._cells, number, key=lambda entry: entry[0])
        alive = [entry for entry in self._cells[first:] if entry[1]() is not None]
        self._cells[first:] = alive
        for _, reference in alive:
            cell = reference()
            if cell is not None and cell.live:
                yield cell
