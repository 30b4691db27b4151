"""From what the two processes have written to a report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ttfamily.planning.measured import CONSTANTS
from ttfamily.verify import advice
from ttfamily.verify.job import DEVICE, EXPECTED, read_events, without_folders
from ttfamily.verify.report import Check, Constant, OpRow, OpTime, Problem, Report

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ttfamily.verify.job import Job
    from ttfamily.verify.watchdog import Ended

    Event = Mapping[str, Any]

INFINITE = float("inf")


def collect(job: Job, ended: Mapping[str, Ended]) -> Report:
    """Make the report of a job.

    :param ended: how each process ended, by its role; the device's is missing if it was not started.
    """
    found = {role: list(read_events(job.events(role))) for role in (EXPECTED, DEVICE)}
    events = found[DEVICE]
    environments = [event["values"] for event in events if event["kind"] == "environment"]
    return Report(
        asked={
            "mesh": job.mesh,
            "device": job.device,
            "precision": without_folders(job.precision),
            "families": list(job.families) or "all",
            "soak steps": job.steps,
        },
        environment=environments[0] if environments else None,
        compared=tuple(dict.fromkeys(event["subject"] for event in _of(events, "op"))),
        ops=_op_rows(_of(events, "op")),
        invariants=tuple(_check(event, event["name"], event["detail"]) for event in _of(events, "invariant")),
        soak=tuple(_soaked(event) for event in _of(events, "soak")),
        op_times=tuple(_op_time(event) for event in _of(events, "op time")),
        constants=_constants(events),
        timings=tuple({key: event[key] for key in ("name", "sizes", "seconds")} for event in _of(events, "timing")),
        problems=(*_problems(found), *_endings(ended)),
        unfinished=_unfinished(events),
    )


def _of(events: Sequence[Event], kind: str) -> list[Event]:
    return [event for event in events if event["kind"] == kind]


def _unfinished(events: Sequence[Event]) -> tuple[str, ...]:
    """The parts that did not come to their end; all there is, if it is not known what was to be done."""
    done = {event["part"] for event in _of(events, "done")}
    names = [event["names"] for event in _of(events, "parts")]
    return tuple(name for name in names[0] if name not in done) if names else ("everything",)


def _op_rows(events: Sequence[Event]) -> tuple[OpRow, ...]:
    by_op: dict[str, list[Event]] = {}
    for event in events:
        by_op.setdefault(event["op"], []).append(event)
    return tuple(_op_row(op, calls) for op, calls in by_op.items())


def _op_row(op: str, calls: list[Event]) -> OpRow:
    wrong = [call for call in calls if not call["right"]]
    closest = max(calls, key=_share)
    first = wrong[0] if wrong else None
    detail = ""
    if first is not None:
        detail = f"{first['stage']} of {first['subject']}, {op}({first['arguments']}): {first['detail']}"
    return OpRow(
        op=op,
        subjects=tuple(dict.fromkeys(call["subject"] for call in calls)),
        calls=len(calls),
        wrong=len(wrong),
        together=_largest(calls, "together"),
        worst=_largest(calls, "worst"),
        bound=tuple(closest["bound"]),
        detail=detail,
    )


def _largest(calls: list[Event], key: str) -> float | None:
    values = [call[key] for call in calls]
    return None if None in values else max(values)


def _share(call: Event) -> float:
    """How much of its bound a call has used up."""
    pairs = zip((call["together"], call["worst"]), call["bound"], strict=True)
    used = [INFINITE if error is None else error / most if most else INFINITE * bool(error) for error, most in pairs]
    return max(0.0 if value != value else value for value in used)  # noqa: PLR0124 -- NaN: nothing of nothing


def _check(event: Event, name: str, detail: str) -> Check:
    return Check(subject=event["subject"], name=name, right=event["right"], detail=detail)


def _soaked(event: Event) -> Check:
    before, most = event["dram"]
    detail = [event["drift"]] if event["drift"] else []
    if most != before:
        detail.append(f"DRAM grew from {before:,} to {most:,} bytes on each chip")
    return _check(event, f"{event['steps']:,} decode steps with prompts in between", "; ".join(detail))


def _op_time(event: Event) -> OpTime:
    eager = event["eager"] or {"median": None, "p90": None}
    values = {key: event[key] for key in ("op", "arguments", "stage", "traced")}
    return OpTime(**values, **eager)


def _constants(events: Sequence[Event]) -> tuple[Constant, ...]:
    measured = [event["values"] for event in _of(events, "constants")]
    planned = [event["values"] for event in _of(events, "planned")]
    if not measured:
        return ()
    return tuple(
        Constant(
            name=name,
            unit=facts.unit,
            how=facts.how,
            measured=measured[0].get(name),
            planned=planned[0].get(name) if planned else None,
        )
        for name, facts in CONSTANTS.items()
    )


def _problems(found: Mapping[str, Sequence[Event]]) -> Iterator[Problem]:
    for role, events in found.items():
        for event in events:
            kind, reason = event["kind"], event.get("reason", "")
            if kind == "no mesh":
                where = "opening the simulated mesh" if role == EXPECTED else "opening the mesh"
                yield Problem(kind="failure", where=where, what=reason, todo='Run "ttfamily doctor".')
            elif kind == "not run":
                todo = "No mistake of the device: the simulated mesh has no small model of it either."
                yield Problem(kind="not run", where=event["subject"], what=reason, todo=todo)
            elif kind == "failed":
                todo = "What came before it stands; send the report."
                yield Problem(kind="failure", where=event["at"] or event["part"], what=reason, todo=todo)
            elif kind == "stream differs":
                todo = "Nothing after it could be compared: the mesh differs from the simulated one. Send the report."
                yield Problem(kind=kind, where=event["at"], what=event["what"], todo=todo)
    yield from _not_corrected(found[DEVICE])


def _not_corrected(events: Sequence[Event]) -> Iterator[Problem]:
    """One for each op that was, and each reason."""
    calls = {(event["op"], event["corrected"]): event for event in reversed(events) if event.get("corrected")}
    for (op, reason), first in calls.items():
        where = f"{op}, in {first['stage']} of {first['subject']} the first time"
        todo = "Ops after it may have been given its error."
        yield Problem(kind="not corrected", where=where, what=reason, todo=todo)


def _endings(ended: Mapping[str, Ended]) -> Iterator[Problem]:
    for role, end in ended.items():
        where = str(end.last) if end.last else "its start"
        if role == EXPECTED and end.how != "finished":
            where = f"the simulator's process, {where}"
        if end.how == "hung":
            what = "nothing has moved for longer than --patience allows; the process was ended"
            yield Problem(kind="hang", where=where, what=what, todo=advice.after_hang(end.last))
        elif end.how == "died":
            what = f"the process ended with status {end.status}. {without_folders(end.log)}"
            yield Problem(kind="crash", where=where, what=what, todo=advice.RESET)
