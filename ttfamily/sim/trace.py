"""Trace capture and replay, with the rules of the hardware: a broken one is an error here, a hang there."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING, Any

import attrs

from ttfamily.errors import SimulatorError
from ttfamily.sim.formats import round_to
from ttfamily.sim.tensor import Cell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import ttnn


@attrs.define
class Trace:
    """The recorded ops: how each is computed, and the cells that get the results."""

    steps: list[tuple[Callable[[], Any], list[Cell]]] = attrs.field(factory=list)


class TraceRecorder:
    """Stands in for ttnn's four trace functions, which the mock cluster cannot run."""

    def __init__(self, device: ttnn.MeshDevice) -> None:
        self._device = device
        self._ids = itertools.count(1)
        self._traces: dict[int, Trace] = {}
        self._open: tuple[int, Trace] | None = None

    def begin_trace_capture(self, mesh_device: ttnn.MeshDevice, *, cq_id: int = 0) -> int:  # noqa: ARG002
        """Start to record; returns the trace's id."""
        if self._open is not None:
            raise SimulatorError(
                "ttnn.begin_trace_capture",
                got="a second capture while one is open",
                expected="one capture at a time",
                fix="End the first with ttnn.end_trace_capture.",
            )
        self._open = next(self._ids), Trace()
        return self._open[0]

    def end_trace_capture(self, mesh_device: ttnn.MeshDevice, trace_id: int, *, cq_id: int = 0) -> None:  # noqa: ARG002
        """End the capture and keep what was recorded."""
        if self._open is None or self._open[0] != trace_id:
            raise self._unknown("ttnn.end_trace_capture", trace_id)
        self._traces[trace_id] = self._open[1]
        self._open = None

    def execute_trace(
        self, mesh_device: ttnn.MeshDevice, trace_id: int, *, cq_id: int = 0, blocking: bool = True  # noqa: ARG002
    ) -> None:
        """Compute every recorded op again, on what its input buffers hold now."""
        if trace_id not in self._traces:
            raise self._unknown("ttnn.execute_trace", trace_id)
        for step, outputs in self._traces[trace_id].steps:
            values = step()
            for cell, value in zip(outputs, values if isinstance(values, (list, tuple)) else [values], strict=True):
                # An op in place gives back the cell it wrote to; its output shares that buffer.
                cell.value = value.value if isinstance(value, Cell) else round_to(value, cell.dtype)

    def release_trace(self, mesh_device: ttnn.MeshDevice, trace_id: int) -> None:  # noqa: ARG002
        """Forget a trace."""
        if self._traces.pop(trace_id, None) is None:
            raise self._unknown("ttnn.release_trace", trace_id)

    @property
    def capturing(self) -> bool:
        """Whether a capture is open."""
        return self._open is not None

    def record(self, step: Callable[[], Any], outputs: list[Cell]) -> None:
        """Note one op of the open capture, and the cells that get its results at every replay."""
        if self._open is not None:
            self._open[1].steps.append((step, outputs))

    def forbid_host_access(self, op: str) -> None:
        """Refuse a host read or write inside a capture: a replay would not repeat it.

        :raises SimulatorError: if a capture is open.
        """
        if self._open is not None:
            raise SimulatorError(
                op,
                got="a transfer between host and device inside a trace capture",
                expected="only device ops: a replay repeats nothing that the host did",
                fix="Write the inputs before the capture, into tensors that the trace reads.",
            )

    @contextlib.contextmanager
    def only_compiled_programs(self, op: str) -> Iterator[None]:
        """Refuse an op that is compiled inside a capture: its program would be written to the device."""
        if self._open is None:
            yield
            return
        before = self._device.num_program_cache_entries()
        yield
        if self._device.num_program_cache_entries() != before:
            raise SimulatorError(
                op,
                got="an op that was compiled inside a trace capture",
                expected="every program in the program cache before the capture begins",
                fix="Run the same step once, untraced, with the same shapes and configs.",
            )

    def _unknown(self, who: str, trace_id: int) -> SimulatorError:
        return SimulatorError(
            who,
            got=f"trace {trace_id}",
            expected=f"one of {sorted(self._traces)}",
            fix="Use the id that ttnn.begin_trace_capture returned, once its capture has ended.",
        )
