"""Trace capture and replay, with the rules of the hardware: a broken one is an error here, a hang there."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING

from ttfamily.errors import SimulatorError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import ttnn

    Trace = list[Callable[[], None]]  # the recorded ops: each computes its outputs from what its inputs hold


class TraceRecorder:
    """Stands in for ttnn's four trace functions, which the mock cluster cannot run."""

    def __init__(self, device: ttnn.MeshDevice) -> None:
        self._device = device
        self._ids = itertools.count(1)
        self._traces: dict[int, Trace] = {}
        self._open: tuple[int, Trace] | None = None

    def begin_trace_capture(self, mesh_device: ttnn.MeshDevice, *, cq_id: int | None = None) -> int:  # noqa: ARG002
        """Start to record; returns the trace's id."""
        if self._open is not None:
            raise SimulatorError(
                "ttnn.begin_trace_capture",
                got="a second capture while one is open",
                expected="one capture at a time",
                fix="End the first with ttnn.end_trace_capture.",
            )
        self._open = next(self._ids), []
        return self._open[0]

    def end_trace_capture(self, mesh_device: ttnn.MeshDevice, trace_id: int, *, cq_id: int | None = None) -> None:  # noqa: ARG002
        """End the capture and keep what was recorded."""
        if self._open is None or self._open[0] != trace_id:
            raise _unknown("ttnn.end_trace_capture", trace_id, () if self._open is None else self._open[:1])
        self._traces[trace_id] = self._open[1]
        self._open = None

    def execute_trace(
        self,
        mesh_device: ttnn.MeshDevice,  # noqa: ARG002
        trace_id: int,
        *,
        cq_id: int | None = None,  # noqa: ARG002
        blocking: bool = True,  # noqa: ARG002
    ) -> None:
        """Compute every recorded op again, on what its input buffers hold now."""
        if trace_id not in self._traces:
            raise _unknown("ttnn.execute_trace", trace_id, self._traces)
        self.forbid("ttnn.execute_trace", "a replay")
        for call in self._traces[trace_id]:
            call()

    def release_trace(self, mesh_device: ttnn.MeshDevice, trace_id: int) -> None:  # noqa: ARG002
        """Forget a trace."""
        if self._traces.pop(trace_id, None) is None:
            raise _unknown("ttnn.release_trace", trace_id, self._traces)

    def perform(self, call: Callable[[], None]) -> None:
        """Run one op, or in a capture only note it: as on hardware, a capture computes nothing."""
        if self._open is None:
            call()
        else:
            self._open[1].append(call)

    def forbid(self, op: str, what: str) -> None:
        """Refuse, inside a capture, what a replay would not repeat.

        :raises SimulatorError: if a capture is open.
        """
        if self._open is not None:
            raise SimulatorError(
                op,
                got=f"{what} inside a trace capture",
                expected="only device ops: a replay repeats nothing that the host did",
                fix="Write the inputs before the capture, into tensors that the trace reads.",
            )

    def forbid_host_access(self, op: str) -> None:
        """Refuse a host read or write inside a capture."""
        self.forbid(op, "a transfer between host and device")

    @contextlib.contextmanager
    def only_compiled_programs(self, op: str) -> Iterator[None]:
        """Refuse an op that is compiled inside a capture: its program would be written to the device."""
        before = self._device.num_program_cache_entries()
        yield
        if self._open is not None and self._device.num_program_cache_entries() != before:
            raise SimulatorError(
                op,
                got="an op that was compiled inside a trace capture",
                expected="every program in the program cache before the capture begins",
                fix="Run the same step once, untraced, with the same shapes and configs.",
            )


def _unknown(who: str, trace_id: int, known: Iterable[int]) -> SimulatorError:
    return SimulatorError(
        who,
        got=f"trace {trace_id}",
        expected=f"one of {sorted(known)}",
        fix="Use the id that ttnn.begin_trace_capture returned, once its capture has ended.",
    )
