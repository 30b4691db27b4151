"""Trace capture and replay, with the rules of the hardware: a broken one is an error here; there a hang, or garbage."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING

import attrs

from ttfamily.errors import SimulatorError
from ttfamily.sim.memory import Written

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import ttnn

    from ttfamily.sim.allocations import Allocations
    from ttfamily.sim.kernel_call import KernelCall
    from ttfamily.sim.memory import Allocation
    from ttfamily.sim.tensor import Cell


@attrs.define(kw_only=True, eq=False)
class Trace:
    """What a capture recorded.

    :param id: that ttnn's functions take.
    :param first: the number of the first allocation after its capture began.
    :ivar steps: each computes an op's outputs from what its inputs hold, or frees a buffer.
    :ivar inputs: the cells that it reads or writes and did not make.
    :ivar made: the cells that it makes.
    :ivar allocations: of what it makes, in order; every replay writes them.
    :ivar written: the same, merged; None until the capture has ended.
    :ivar intruder: the op that was compiled while the trace was alive, if one was.
    """

    id: int
    first: int
    steps: list[Callable[[], None]] = attrs.field(factory=list, init=False)
    inputs: dict[int, Cell] = attrs.field(factory=dict, init=False)
    made: dict[int, Cell] = attrs.field(factory=dict, init=False)
    allocations: list[Allocation] = attrs.field(factory=list, init=False)
    written: Written | None = attrs.field(default=None, init=False)
    intruder: str | None = attrs.field(default=None, init=False)

    def note(self, call: KernelCall) -> None:
        """Tell the cells that it makes from those that were there before."""
        for cell in (each.whole for each in call.inputs):
            if id(cell) not in self.made:
                self.inputs[id(cell)] = cell
        for cell in (each.whole for each in call.outputs):
            if id(cell) not in self.inputs:
                self.made[id(cell)] = cell


class TraceRecorder:
    """Stands in for ttnn's four trace functions, which the mock cluster cannot run."""

    def __init__(self, device: ttnn.MeshDevice, allocations: Allocations) -> None:
        self._device, self._allocations = device, allocations
        self._ids = itertools.count(1)
        self._traces: dict[int, Trace] = {}
        self._open: Trace | None = None

    @property
    def alive(self) -> tuple[int, ...]:
        """The traces that can be replayed."""
        return tuple(self._traces)

    @property
    def capturing(self) -> Trace | None:
        """The trace whose capture is open."""
        return self._open

    def begin_trace_capture(self, mesh_device: ttnn.MeshDevice, *, cq_id: int | None = None) -> int:  # noqa: ARG002
        """Start to record; returns the trace's id."""
        if self._open is not None:
            raise SimulatorError(
                "ttnn.begin_trace_capture",
                got="a second capture while one is open",
                expected="one capture at a time",
                fix="End the first with ttnn.end_trace_capture.",
            )
        self._open = Trace(id=next(self._ids), first=self._allocations.count)
        return self._open.id

    def end_trace_capture(self, mesh_device: ttnn.MeshDevice, trace_id: int, *, cq_id: int | None = None) -> None:  # noqa: ARG002
        """End the capture and keep what was recorded."""
        trace = self._open
        if trace is None or trace.id != trace_id:
            raise _unknown("ttnn.end_trace_capture", trace_id, () if trace is None else (trace.id,))
        trace.written = Written(trace.allocations)
        self._traces[trace_id] = trace
        self._open = None

    def execute_trace(
        self,
        mesh_device: ttnn.MeshDevice,  # noqa: ARG002
        trace_id: int,
        *,
        cq_id: int | None = None,  # noqa: ARG002
        blocking: bool = True,  # noqa: ARG002
    ) -> None:
        """Compute every recorded op again, on what its input buffers hold now.

        It writes where its tensors lay in the capture, whoever has that memory now.

        :raises SimulatorError: if an input's buffer was freed, or a program was compiled after the capture.
        """
        trace = self._traces.get(trace_id)
        if trace is None:
            raise _unknown("ttnn.execute_trace", trace_id, self._traces)
        self.forbid("ttnn.execute_trace", "a replay")
        if trace.intruder is not None:
            raise _compiled_late("ttnn.execute_trace", trace_id, f"{trace.intruder}, which was compiled")
        self._check_inputs(trace)
        self._overwrite(trace)
        for step in trace.steps:
            step()

    def release_trace(self, mesh_device: ttnn.MeshDevice, trace_id: int) -> None:  # noqa: ARG002
        """Forget a trace."""
        if self._traces.pop(trace_id, None) is None:
            raise _unknown("ttnn.release_trace", trace_id, self._traces)

    def perform(self, call: Callable[[], None]) -> None:
        """Run one op, or in a capture only note it: as on hardware, a capture computes nothing."""
        if self._open is None:
            call()
        else:
            self._open.steps.append(call)

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
        """Refuse an op that is compiled inside a capture, or while a trace is alive.

        Its program would be written to the device: in a capture, where a replay would not repeat it; after one, into
        memory that a replay may overwrite.
        """
        before = self._device.num_program_cache_entries()
        yield
        if self._device.num_program_cache_entries() == before:
            return
        if self._open is not None:
            raise SimulatorError(
                op,
                got="an op that was compiled inside a trace capture",
                expected="every program in the program cache before the capture begins",
                fix="Run the same step once, untraced, with the same shapes and configs.",
            )
        for trace in self._traces.values():
            trace.intruder = trace.intruder or op
        if self._traces:
            raise _compiled_late(op, min(self._traces), "an op that was compiled")

    @staticmethod
    def _check_inputs(trace: Trace) -> None:
        for cell in trace.inputs.values():
            if cell.allocation is not None and not cell.live:
                freed = f"was deallocated at {cell.freed}" if cell.freed else "no variable refers to any more"
                raise SimulatorError(
                    "ttnn.execute_trace",
                    got=f"trace {trace.id}, which uses {cell.allocation}, which {freed}",
                    expected="every tensor that a trace reads, and did not make, allocated while it may be replayed",
                    fix="Keep a reference to it beside the trace's id, and deallocate it after ttnn.release_trace.",
                )

    def _overwrite(self, trace: Trace) -> None:
        """Note which buffers, allocated since its capture began and not its own, its replays write over."""
        for cell in self._allocations.since(trace.first):
            if trace.written is None or cell.allocation is None or id(cell) in trace.made:
                continue
            writer = trace.written.over(cell.allocation.span)
            if writer is not None:
                cell.overwritten = writer, trace.id


def _compiled_late(op: str, trace: int, what: str) -> SimulatorError:
    return SimulatorError(
        op,
        got=f"{what} while trace {trace} was alive",
        expected="every program compiled before the first capture: a replay may overwrite one that is compiled after",
        fix="Run everything that can run once, with the same shapes and configs, before ttnn.begin_trace_capture "
        "(load() does, unless warm_up=False); or release the trace first.",
    )


def _unknown(who: str, trace_id: int, known: Iterable[int]) -> SimulatorError:
    return SimulatorError(
        who,
        got=f"trace {trace_id}",
        expected=f"one of {sorted(known)}",
        fix="Use the id that ttnn.begin_trace_capture returned, once its capture has ended.",
    )
