"""Requests come, run, end and are cancelled in any order: none is lost, none gets another's, every block comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from tests.engine.fakes import BLOCK, CHUNK, VOCAB, Interleaved, alone, fake_engine
from ttfamily.core.blocks.kv_cache import SPARE
from ttfamily.engine.request import Request
from ttfamily.engine.sampling import Sampling
from ttfamily.engine.scheduler import Scheduler
from ttfamily.errors import RequestError

if TYPE_CHECKING:
    from ttfamily.engine.engine import Engine
    from ttfamily.engine.request import Output

PAGES, SLOTS = 8, 4
LIMIT = PAGES * BLOCK
REQUESTS = st.builds(
    Request,
    tokens=st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=LIMIT).map(tuple),
    sampling=st.builds(
        Sampling,
        temperature=st.sampled_from([0.0, 0.7, 2.0]),
        top_k=st.none() | st.integers(1, 5),
        seed=st.integers(0, 99),
    ),
    max_new_tokens=st.integers(1, 12),
    stop_tokens=st.frozensets(st.integers(0, VOCAB - 1), max_size=2),
)


def drain(engine: Engine) -> dict[int, list[Output]]:
    """Run to the end; what each request got."""
    got: dict[int, list[Output]] = {}
    while engine.unfinished:
        for output in engine.step():
            got.setdefault(output.request, []).append(output)
    return got


class Life(RuleBasedStateMachine):
    """An engine with fewer blocks than all its slots could use."""

    scheduler = Scheduler
    requests = Bundle("requests")
    slots = Bundle("slots")

    @initialize(blocks=st.integers(PAGES + 1, SLOTS * PAGES + 1), replicas=st.sampled_from([1, 2]))
    def start(self, blocks: int, replicas: int) -> None:
        self.blocks, self.replicas = blocks, replicas
        self.engine = fake_engine(SLOTS, blocks, pages=PAGES, replicas=replicas, scheduler=self.scheduler)
        self.wanted: dict[int, list[int]] = {}
        self.got: dict[int, list[int]] = {}
        self.ended: set[int] = set()
        self.cancelled: set[int] = set()

    @rule(target=requests, request=REQUESTS)
    def add(self, request: Request) -> int:
        number = self.engine.add(request)
        assert number not in self.wanted
        self.wanted[number], self.got[number] = alone(request, LIMIT), []
        return number

    @rule(request=requests)
    def cancel(self, request: int) -> None:
        self.engine.cancel(request)
        if request not in self.ended:
            self.cancelled.add(request)

    @rule(steps=st.integers(1, 6))
    def step(self, steps: int) -> None:
        for _ in range(steps):
            try:
                outputs = self.engine.step()
            except RequestError as error:
                self.refused(error)
                return
            self.take(outputs)

    def refused(self, error: RequestError) -> None:
        """Nothing runs, and nothing can, for slots are held by hand."""
        assert "held by prefill()" in error.got
        assert self.engine.scheduler.held
        assert not self.engine.scheduler.running

    @rule(target=slots, slot=st.integers(0, SLOTS - 1), tokens=st.integers(1, LIMIT))
    def hold(self, slot: int, tokens: int) -> int:
        if slot in self.engine.scheduler.running:
            with pytest.raises(RequestError, match=rf"slot {slot}: got a request that generate\(\) has"):
                self.engine.hold(slot)
        else:
            self.engine.hold(slot)
            if self.engine.pool.missing(slot, tokens) <= self.engine.pool.free(slot):
                self.engine.pool.reserve(slot, tokens)
        return slot

    @rule(slot=consumes(slots))
    def let_go(self, slot: int) -> None:
        if slot not in self.engine.scheduler.running:
            self.engine.let_go(slot)

    def take(self, outputs: list[Output]) -> None:
        for output in outputs:
            assert output.request not in self.ended | self.cancelled
            self.got[output.request].append(output.token)
            if output.ended:
                self.ended.add(output.request)

    @invariant()
    def every_block_is_free_or_has_one_owner(self) -> None:
        if not hasattr(self, "engine"):
            return
        share = SLOTS // self.replicas
        for replica in range(self.replicas):
            slots = range(replica * share, (replica + 1) * share)
            owned = [block for slot in slots for block in self.engine.pool.row(slot).tolist() if block != SPARE]
            assert len(set(owned)) == len(owned) == self.blocks - 1 - self.engine.pool.free(slots[0])

    @invariant()
    def every_request_waits_or_has_one_slot_or_has_ended(self) -> None:
        if not hasattr(self, "engine"):
            return
        scheduler = self.engine.scheduler
        there = [each.id for each in (*scheduler.waiting, *scheduler.running.values())]
        assert sorted(there) == sorted(set(self.wanted) - self.ended - self.cancelled)
        assert not scheduler.held & set(scheduler.running)

    def teardown(self) -> None:
        if not hasattr(self, "engine"):
            return
        for slot in sorted(self.engine.scheduler.held):
            self.engine.let_go(slot)
        while self.engine.unfinished:
            self.take(self.engine.step())
        for request, wanted in self.wanted.items():
            if request in self.cancelled:
                assert self.got[request] == wanted[: len(self.got[request])]
            else:
                assert self.got[request] == wanted
        assert all(self.engine.pool.free(slot) == self.blocks - 1 for slot in range(SLOTS))


class InterleavedLife(Life):
    """The same under another policy: the engine does not depend on which there is."""

    scheduler = Interleaved


MANY = settings(max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck))
TestRequestsInAnyOrder = Life.TestCase
TestRequestsInAnyOrder.settings = MANY
TestRequestsInAnyOrderInterleaved = InterleavedLife.TestCase
TestRequestsInAnyOrderInterleaved.settings = MANY


def test_a_request_joins_while_others_decode() -> None:
    engine = fake_engine()
    first = Request(tokens=(1, 2, 3), max_new_tokens=10)
    second = Request(tokens=(4, 5), max_new_tokens=3)
    engine.add(first)
    got = [engine.step() for _ in range(4)]
    assert [len(outputs) for outputs in got] == [1, 1, 1, 1]
    joined = engine.add(second)
    rest = drain(engine)
    assert [output.token for output in rest[joined]] == alone(second, 32)
    assert [o.token for outputs in got for o in outputs] + [o.token for o in rest[0]] == alone(first, 32)


def test_an_output_says_why_it_is_the_last() -> None:
    engine = fake_engine()
    prompt = (3, 1, 4)
    made = alone(Request(tokens=prompt, max_new_tokens=6), 32)
    counted = engine.add(Request(tokens=prompt, max_new_tokens=6))
    stopped = engine.add(Request(tokens=prompt, max_new_tokens=6, stop_tokens=frozenset({made[2]})))
    filled = engine.add(Request(tokens=(5,) * 30, max_new_tokens=6))
    got = drain(engine)
    assert [output.ended for output in got[counted]] == [None] * 5 + ["max_new_tokens"]
    assert [output.ended for output in got[stopped]] == [None] * made.index(made[2]) + ["stop_token"]
    assert [output.ended for output in got[filled]] == [None, "context"]


def test_requests_beyond_the_slots_wait_in_the_order_they_came() -> None:
    engine = fake_engine(slots=1)
    ids = [engine.add(Request(tokens=(number,), max_new_tokens=2)) for number in range(4)]
    assert list(drain(engine)) == ids


def test_a_request_that_is_cancelled_within_a_step_ends_with_it() -> None:
    """As the finaliser of an abandoned stream does, which may run at any line."""
    engine = fake_engine()
    first, second = (engine.add(Request(tokens=(number,), max_new_tokens=9)) for number in (1, 2))
    engine.step()
    engine.step()
    decode = engine.runner.decode
    engine.runner.decode = lambda batch: (engine.cancel(first), decode(batch))[1]
    assert {output.request for output in engine.step()} == {first, second}
    assert list(engine.scheduler.running) == [1]
    assert {output.request for output in engine.step()} == {second}


def test_an_ended_request_can_be_cancelled_and_nothing_happens() -> None:
    engine = fake_engine()
    request = engine.add(Request(tokens=(1,), max_new_tokens=1))
    drain(engine)
    engine.cancel(request)
    engine.cancel(12345)
    assert engine.unfinished == 0


def test_a_step_that_fails_can_be_taken_again() -> None:
    engine = fake_engine()
    request = Request(tokens=(1,) * 11, max_new_tokens=5, sampling=Sampling(temperature=1.0, seed=3))
    engine.add(request)
    real, got = engine.runner, []

    class Flaky:
        failed = False

        def __getattr__(self, name: str) -> object:
            self.failed = not self.failed
            if self.failed:
                raise RuntimeError
            return getattr(real, name)

    engine.runner = Flaky()
    while engine.unfinished:
        with pytest.raises(RuntimeError):
            engine.step()
        got += [output.token for output in engine.step()]
    assert got == alone(request, 32)


def test_a_request_that_never_fits_is_refused_when_it_comes() -> None:
    engine = fake_engine(blocks=4)
    with pytest.raises(RequestError, match="the blocks of the cache"):
        engine.add(Request(tokens=(1,) * 10, max_new_tokens=10))
    with pytest.raises(RequestError, match="got 33 tokens; expected 1 to 32"):
        engine.add(Request(tokens=(1,) * 33, max_new_tokens=1))
    with pytest.raises(RequestError, match="the id 23"):
        engine.add(Request(tokens=(VOCAB,), max_new_tokens=1))
    assert engine.unfinished == 0


def test_a_long_prompt_is_read_in_chunks_between_steps_that_can_be_cancelled() -> None:
    engine = fake_engine()
    request = engine.add(Request(tokens=(1,) * (2 * CHUNK), max_new_tokens=1))
    assert engine.step() == []
    engine.cancel(request)
    assert engine.step() == []
    assert engine.runner.calls == ["prefill"]
    assert engine.pool.free(0) == 15
