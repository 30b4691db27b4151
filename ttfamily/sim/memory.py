"""Where buffers lie, who allocated them and when: what names the two tensors when one overwrites the other.

ttnn's allocator runs on the mock cluster, so its addresses are those that a card would have. It gives out the same
range of every bank on all devices, so one span stands for a buffer.
"""

from __future__ import annotations

import math
import sys
from bisect import bisect_left
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import ttnn

from ttfamily.tiles import TILE_ELEMENTS

if TYPE_CHECKING:
    from collections.abc import Iterable

# Callers are looked for above these: this package, and ttnn's Python.
LIBRARIES = (str(Path(__file__).parent), str(Path(ttnn.__file__).parent))
PARTS_SHOWN = 3  # of a path


@attrs.frozen(kw_only=True)
class Span:
    """A range of addresses, the same in every bank.

    :param kind: ttnn's name of the memory, ``DRAM`` or ``L1``.
    """

    kind: str
    start: int
    end: int

    @classmethod
    def of(cls, tensor: ttnn.Tensor, banks: int) -> Span:
        """Where a device tensor's buffer lies.

        :param banks: that an interleaved tensor is dealt out to, in its kind of memory.
        """
        memory = tensor.memory_config()
        pages, size = tensor.buffer_num_pages(), tensor.buffer_aligned_page_size()
        if memory.shard_spec is None:
            on_bank = -(-pages // banks)
        else:
            rows, columns = memory.shard_spec.shape
            on_bank = rows if tensor.layout == ttnn.ROW_MAJOR_LAYOUT else math.ceil(rows * columns / TILE_ELEMENTS)
        start = tensor.buffer_address()
        return cls(kind=memory.buffer_type.name, start=start, end=start + on_bank * size)

    def overlaps(self, other: Span) -> bool:
        """Whether they have an address in common."""
        return self.kind == other.kind and self.start < other.end and other.start < self.end


@attrs.frozen(kw_only=True)
class Allocation:
    """A buffer that was allocated.

    :param number: how many allocations of the mesh came before it.
    :param op: that made it.
    :param caller: ``file:line`` of the call.
    :param trace: in whose capture that was, or None.
    """

    number: int
    op: str
    shape: tuple[int, ...]
    caller: str
    trace: int | None
    span: Span

    def __str__(self) -> str:
        """Return what it is, who allocated it and when."""
        when = f"allocation {self.number}"
        if self.trace is not None:
            when += f", in the capture of trace {self.trace}"
        return (
            f"the tensor {list(self.shape)} of {self.op} ({self.caller}; {when}; "
            f"{self.span.kind} {self.span.start} to {self.span.end})"
        )


class Written:
    """The ranges that a trace writes, merged, so that one look-up tells whether a buffer is among them."""

    def __init__(self, allocations: Iterable[Allocation]) -> None:
        self._allocations = tuple(allocations)
        self._merged: dict[str, list[tuple[int, int]]] = {}
        for span in sorted((each.span for each in self._allocations), key=lambda span: span.start):
            ranges = self._merged.setdefault(span.kind, [])
            if ranges and span.start <= ranges[-1][1]:
                ranges[-1] = ranges[-1][0], max(ranges[-1][1], span.end)
            else:
                ranges.append((span.start, span.end))

    def over(self, span: Span) -> Allocation | None:
        """Return what the trace writes over a span, or None."""
        ranges = self._merged.get(span.kind, ())
        place = bisect_left(ranges, (span.end, 0))  # the ranges before it begin before the span ends
        if place == 0 or ranges[place - 1][1] <= span.start:
            return None
        return next(each for each in self._allocations if each.span.overlaps(span))


def caller() -> str:
    """Return ``file:line`` of the innermost Python code outside ttnn and the simulator."""
    frame = sys._getframe(1)  # noqa: SLF001 -- traceback.extract_stack takes a hundred times as long
    while frame.f_back is not None and frame.f_code.co_filename.startswith(LIBRARIES):
        frame = frame.f_back
    return f"{'/'.join(Path(frame.f_code.co_filename).parts[-PARTS_SHOWN:])}:{frame.f_lineno}"
