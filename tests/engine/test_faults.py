"""Errors, interrupts and finalisers at any place: a step has happened or has not, and each gets what is its own."""

from __future__ import annotations

import gc
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest

from tests.engine.fakes import CHUNK, Interleaved, alone, fake_engine
from ttfamily.engine import engine as engine_module
from ttfamily.engine.by_hand import SlotsByHand
from ttfamily.engine.request import Request
from ttfamily.engine.sampling import Sampling
from ttfamily.engine.scheduler import Scheduler
from ttfamily.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ttfamily.engine.engine import Engine
    from ttfamily.engine.request import Output

LIMIT = 32
REQUESTS = [
    Request(tokens=(1, 2, 3), max_new_tokens=4, sampling=Sampling(temperature=1.0, seed=3)),
    Request(tokens=(4,) * (CHUNK + 3), max_new_tokens=5, sampling=Sampling(temperature=2.0, top_k=7, seed=4)),
    Request(tokens=(5, 6), max_new_tokens=3),
    Request(tokens=(7, 8, 9), max_new_tokens=4, sampling=Sampling(temperature=1.5, top_p=0.9, seed=5)),
]


class FailingOnce:
    """Calls a function, and raises at one of the calls, before or after it has done its work."""

    def __init__(self, function: Callable[..., Any], at: int, *, after: bool) -> None:
        self.function, self.at, self.after, self.calls = function, at, after, 0

    def __call__(self, *arguments: Any) -> Any:
        self.calls += 1
        if self.calls - 1 != self.at:
            return self.function(*arguments)
        if self.after:
            self.function(*arguments)
        raise KeyboardInterrupt


def put_in(engine: Engine, place: str, at: int, monkeypatch: pytest.MonkeyPatch, *, after: bool) -> FailingOnce:
    """Make the ``at``-th call of a pass or a draw fail."""
    holder = engine_module if place == "sample" else engine.runner
    failing = FailingOnce(getattr(holder, place), at, after=after)
    monkeypatch.setattr(holder, place, failing)
    return failing


@pytest.mark.parametrize("scheduler", [Scheduler, Interleaved])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("place", "at_least"), [("sample", 16), ("prefill", 5), ("decode", 4)])
def test_a_step_that_fails_at_any_place_changes_no_request(
    place: str, at_least: int, after: bool, scheduler: type[Scheduler]
) -> None:
    expected = [alone(request, LIMIT) for request in REQUESTS]
    at, reached = 0, True
    while reached:
        engine = fake_engine(scheduler=scheduler)  # three slots for four requests
        for request in REQUESTS:
            engine.add(request)
        with pytest.MonkeyPatch.context() as patch:
            failing = put_in(engine, place, at, patch, after=after)
            got: list[list[int]] = [[] for _ in REQUESTS]
            while engine.unfinished:
                try:
                    outputs = engine.step()
                except KeyboardInterrupt:
                    assert failing.calls == at + 1
                    continue
                for output in outputs:
                    got[output.request].append(output.token)
        assert got == expected, f"{place} failed at call {at}"
        assert all(engine.pool.free(slot) == 15 for slot in range(3))
        reached = failing.calls > at
        at += reached
    assert at >= at_least


# ---- whose tokens they are


def test_tokens_go_to_their_owners_whoever_runs_the_steps() -> None:
    engine = fake_engine()
    inboxes: list[deque[Output]] = [deque(), deque()]
    owned = [engine.add(REQUESTS[index], inboxes[index]) for index in (0, 1)]
    by_step = engine.add(REQUESTS[2])
    outputs = []
    for turn in range(20):
        if turn % 2:
            engine.advance()
        else:
            outputs += engine.step()
    assert {output.request for output in outputs} == {by_step}
    assert [output.token for output in outputs] == alone(REQUESTS[2], LIMIT)
    for index, request in enumerate(owned):
        assert {output.request for output in inboxes[index]} == {request}
        assert [output.token for output in inboxes[index]] == alone(REQUESTS[index], LIMIT)
    assert engine.unfinished == 0


def test_tokens_that_step_has_not_returned_yet_are_unfinished() -> None:
    engine = fake_engine()
    engine.add(REQUESTS[2])
    for _ in range(5):
        engine.advance()
    assert engine.unfinished == 1
    outputs = engine.step()
    assert [output.token for output in outputs] == alone(REQUESTS[2], LIMIT)
    assert outputs[-1].ended == "max_new_tokens"
    assert engine.unfinished == 0
    assert engine.step() == []


def test_a_step_that_is_refused_keeps_the_tokens_of_those_before_it() -> None:
    engine = fake_engine(slots=1)
    engine.add(Request(tokens=(1,), max_new_tokens=1))
    engine.advance()
    engine.hold(0)
    engine.add(REQUESTS[0])
    with pytest.raises(RequestError, match="held by prefill"):
        engine.step()
    engine.let_go(0)
    assert [output.request for output in engine.step()] == [0, 1]


def test_a_cancelled_request_has_no_more_tokens_for_step() -> None:
    engine = fake_engine()
    first, second = engine.add(REQUESTS[0]), engine.add(REQUESTS[2])
    engine.advance()
    engine.advance()
    engine.cancel(first)
    assert {output.request for output in engine.step()} == {second}


# ---- finalisers


class Collecting(list[int]):
    """Blocks that are free; whoever takes one runs the garbage collection first."""

    def pop(self, *at: Any) -> int:
        gc.collect()
        return super().pop(*at)


def abandoned(engine: Engine, request: int) -> None:
    """Drop a stream, in a circle that only a garbage collection finds."""

    def stream() -> Iterator[None]:
        try:
            yield
        finally:
            engine.cancel(request)

    pieces = stream()
    next(pieces)
    circle: list[Any] = [pieces]
    circle.append(circle)


def by_hand(engine: Engine) -> None:
    SlotsByHand(engine).prefill([1, 2, 3, 4, 5, 6, 7, 8, 9], 2)


USES: dict[str, Callable[[Engine], Any]] = {
    "a prompt by hand": by_hand,
    "a step by hand": lambda engine: SlotsByHand(engine).decode([0, 0, 1], [-1, -1, 8]),
    "a step that admits": lambda engine: (engine.add(REQUESTS[1]), engine.step()),
}


@pytest.mark.parametrize("name", USES)
def test_a_stream_that_is_collected_in_the_middle_of_a_use_ends_after_it(name: str) -> None:
    gc.collect()
    gc.disable()
    try:
        engine = fake_engine()
        dropped, kept = engine.add(REQUESTS[0]), engine.add(REQUESTS[2])
        engine.step()
        engine.step()
        free = Collecting(engine.pool._free_by_replica[0])
        engine.pool._free_by_replica[0] = free
        abandoned(engine, dropped)
        USES[name](engine)
    finally:
        gc.enable()
    assert dropped not in {each.id for each in engine.scheduler.running.values()}
    assert kept in {each.id for each in engine.scheduler.running.values()}
    rows = [block for slot in range(3) for block in engine.pool.row(slot).tolist() if block]
    assert len(set(rows)) == len(rows) == 15 - engine.pool.free(0)
    assert len(set(free) | set(rows)) == 15


def test_a_stream_that_is_collected_while_a_request_is_added_ends_after_that() -> None:
    engine = fake_engine()
    dropped = engine.add(REQUESTS[0])
    add, order = engine.scheduler.add, []
    remove = engine.scheduler.remove
    engine.scheduler.remove = lambda *rest: (order.append("removed"), remove(*rest))
    engine.scheduler.add = lambda running: (engine.cancel(dropped), add(running), order.append("added"))
    engine.add(REQUESTS[2])
    assert order == ["added", "removed"]
    assert engine.unfinished == 1


def test_a_cancellation_within_a_cancellation_is_done_after_it() -> None:
    engine = fake_engine()
    first, second = engine.add(REQUESTS[0]), engine.add(REQUESTS[2])
    engine.step()
    engine.step()
    release = engine.pool.release
    within: list[int] = []

    def releasing(slot: int) -> None:
        within.append(slot)
        engine.cancel(second)
        release(slot)
        assert len(engine.scheduler.running) == 2 - len(within)

    engine.pool.release = releasing
    engine.cancel(first)
    assert within == [0, 1]
    assert engine.unfinished == 0
    assert engine.pool.free(0) == 15
