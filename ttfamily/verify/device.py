"""The child process that runs the device: ops against the simulator's values, invariants, a soak, times."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import attrs

import ttfamily
from ttfamily.core.config.precision_policy import policy
from ttfamily.errors import TtfamilyError
from ttfamily.planning.measured import published
from ttfamily.verify.check import OpChecker, StreamDiffers
from ttfamily.verify.constants import constants
from ttfamily.verify.door import every_op
from ttfamily.verify.environment import environment
from ttfamily.verify.expected import ExpectedReader
from ttfamily.verify.invariants import INVARIANTS
from ttfamily.verify.job import EXPECTED, finite, read_events, said
from ttfamily.verify.measure import Stopwatch
from ttfamily.verify.op_times import OpTimer, synchronizer
from ttfamily.verify.soak import soak
from ttfamily.verify.subjects import CONTEXT, SLOTS, stream, subjects
from ttfamily.verify.workloads import Workloads

if TYPE_CHECKING:
    from collections.abc import Callable

    from ttfamily.core.mesh.mesh import Mesh
    from ttfamily.model import Model
    from ttfamily.verify.check import Checked
    from ttfamily.verify.constants import Pair
    from ttfamily.verify.door import OpCall
    from ttfamily.verify.heartbeat import Heartbeat
    from ttfamily.verify.job import Events, Job
    from ttfamily.verify.op_times import OpTimes
    from ttfamily.verify.subjects import Subject

Part = tuple[str, "Callable[[], None]"]


def verify(job: Job, mesh: Mesh, heartbeat: Heartbeat, events: Events) -> None:
    """Run everything, and write what is found as it is found; a part that fails ends that part only."""
    events.write("environment", values=environment(mesh))
    planned = parts(job, mesh, heartbeat, events)
    events.write("parts", names=[name for name, _ in planned])
    heartbeat.beat(total=len(planned))
    for name, part in planned:
        try:
            part()
        except StreamDiffers as difference:
            events.write("stream differs", at=str(heartbeat.last), what=str(difference))
        except (TtfamilyError, RuntimeError, AssertionError) as error:  # ttnn's own errors are RuntimeErrors
            events.write("failed", part=name, at=str(heartbeat.last), reason=said(error))
        else:
            events.write("done", part=name)
        heartbeat.beat(part="", subject="", doing="", arguments="")
        heartbeat.step()
        gc.collect()  # what a model holds of the mesh


def parts(job: Job, mesh: Mesh, heartbeat: Heartbeat, events: Events) -> list[Part]:
    """Return what is to be done, by name: first what finds mistakes, then what takes times."""
    known = {event["subject"] for event in read_events(job.events(EXPECTED)) if event["kind"] == "expected"}
    chosen = [subject for subject in subjects(job.chosen(job.registry())) if subject.name in known]
    stopwatch = Stopwatch(synchronize=synchronizer(mesh), meaningful=mesh.kind == "hardware")
    return [
        *((f"ops of {each.name}", _ops(job, each, mesh, heartbeat, events)) for each in chosen),
        *((f"invariants of {each.name}", _invariants(job, each, mesh, heartbeat, events)) for each in chosen),
        *((f"soak of {each.name}", _soak(job, each, mesh, heartbeat, events)) for each in chosen[:1]),
        *((f"op times of {each.name}", _op_times(job, each, mesh, stopwatch, heartbeat, events)) for each in chosen),
        ("constants", _constants(mesh, stopwatch, heartbeat, events)),
    ]


def _ops(job: Job, subject: Subject, mesh: Mesh, heartbeat: Heartbeat, events: Events) -> Callable[[], None]:
    def found(each: Checked) -> None:
        values = attrs.asdict(each) | {"together": finite(each.together), "worst": finite(each.worst)}
        events.write("op", subject=subject.name, **values)

    def run() -> None:
        heartbeat.beat(part="ops", subject=subject.name)
        checker = OpChecker(mesh, ExpectedReader(job.expected(subject.name)), heartbeat, found)
        for stage in stream(subject, job.checkpoint(subject.name), mesh, policy(job.precision), checker):
            checker.stage = stage
        checker.finish()

    return run


def _op_times(
    job: Job, subject: Subject, mesh: Mesh, stopwatch: Stopwatch, heartbeat: Heartbeat, events: Events
) -> Callable[[], None]:
    def found(each: OpTimes) -> None:
        eager = each.eager
        times = {"median": eager.median, "p90": eager.p90} if eager else None
        values = {"op": each.op, "arguments": each.arguments, "stage": each.stage}
        events.write("op time", subject=subject.name, **values, eager=times, traced=each.traced)

    def run() -> None:
        heartbeat.beat(part="op times", subject=subject.name)
        timer = OpTimer(mesh, stopwatch, heartbeat, found)
        for stage in stream(subject, job.checkpoint(subject.name), mesh, policy(job.precision), timer):
            timer.stage = stage

    return run


def _loaded(job: Job, subject: Subject, mesh: Mesh) -> Model:
    """Load a subject as a user would, onto the open mesh."""
    return ttfamily.load(
        job.checkpoint(subject.name),
        mesh=mesh,
        family=subject.family,
        precision=job.precision,
        max_batch_size=SLOTS * mesh.replicas,
        max_seq_len=CONTEXT,
    )


def _invariants(job: Job, subject: Subject, mesh: Mesh, heartbeat: Heartbeat, events: Events) -> Callable[[], None]:
    def run() -> None:
        heartbeat.beat(part="invariants", subject=subject.name, doing="loading")
        with _watched(heartbeat), _loaded(job, subject, mesh) as model:
            for invariant in INVARIANTS:
                name = invariant.__name__.replace("_", " ")
                heartbeat.beat(part=f"invariant: {name}")
                try:
                    invariant(model)
                except AssertionError as error:
                    events.write("invariant", subject=subject.name, name=name, right=False, detail=str(error))
                else:
                    events.write("invariant", subject=subject.name, name=name, right=True, detail="")

    return run


def _soak(job: Job, subject: Subject, mesh: Mesh, heartbeat: Heartbeat, events: Events) -> Callable[[], None]:
    def run() -> None:
        heartbeat.beat(part="soak", subject=subject.name, doing="loading")
        with _watched(heartbeat), _loaded(job, subject, mesh) as model:
            found = soak(model, job.steps, lambda step: heartbeat.beat(part=f"soak, decode step {step}"))
        events.write("soak", subject=subject.name, right=found.right, **attrs.asdict(found))

    return run


def _constants(mesh: Mesh, stopwatch: Stopwatch, heartbeat: Heartbeat, events: Events) -> Callable[[], None]:
    def found(pair: Pair) -> None:
        medians = [None if times is None else times.median for times in pair.times]
        events.write("timing", name=pair.name, sizes=list(pair.sizes), seconds=medians)

    def run() -> None:
        heartbeat.beat(part="timings", subject="")
        pairs, exchange = Workloads(mesh, stopwatch, heartbeat, found).run()
        events.write("planned", values=published(mesh))
        events.write("constants", values=constants(pairs, exchange))

    return run


def _watched(heartbeat: Heartbeat) -> Any:
    """Say of every op which it is, before it runs."""

    def around(call: OpCall) -> Any:
        heartbeat.beat(doing=call.name, arguments=call.arguments)
        return call.run()

    return every_op(around)
