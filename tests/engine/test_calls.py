"""Calls of ``generate`` on one engine, by themselves and beside whoever else uses it, and what they took."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.engine.fakes import alone, fake_engine
from ttfamily.engine.calls import Call, Calls
from ttfamily.engine.request import Request
from ttfamily.engine.sampling import Sampling
from ttfamily.engine.statistics import RunStatistics

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT = 32
REQUESTS = [
    Request(tokens=(number, 2, 3), max_new_tokens=5 + number, sampling=Sampling(temperature=1.0, seed=number))
    for number in range(4)
]


class Letters:
    """A text in which every token is a letter, that ends at one of them."""

    def __init__(self, stop: str = "") -> None:
        self.stop, self.stopped = stop, False

    def push(self, token: int) -> str:
        self.stopped = letter(token) == self.stop
        return "" if self.stopped else letter(token)

    def finish(self) -> str:
        return ""


def letter(token: int) -> str:
    return chr(ord("a") + token)


def text_alone(request: Request) -> str:
    return "".join(map(letter, alone(request, LIMIT)))


def call_of(*requests: Request, stop: str = "") -> Call:
    return Call(requests, [Letters(stop) for _ in requests])


def stream(calls: Calls, call: Call) -> Iterator[tuple[int, str]]:
    return calls.stream(call, lambda: None, lambda _: None)


def joined(pieces: Any) -> str:
    return "".join(piece for _, piece in pieces)


def test_tokens_of_direct_requests_are_kept_while_a_stream_steps() -> None:
    engine = fake_engine()
    direct = engine.add(REQUESTS[1])
    assert joined(stream(Calls(engine), call_of(REQUESTS[0]))) == text_alone(REQUESTS[0])
    outputs = []
    while engine.unfinished:
        outputs += engine.step()
    assert {output.request for output in outputs} == {direct}
    assert [output.token for output in outputs] == alone(REQUESTS[1], LIMIT)


def test_a_stream_gets_the_tokens_of_steps_that_others_run() -> None:
    engine = fake_engine()
    call = call_of(REQUESTS[0])
    pieces = stream(Calls(engine), call)
    first = next(pieces)
    direct = engine.add(REQUESTS[1])
    outputs = []
    while engine.unfinished:
        outputs += engine.step()
    assert {output.request for output in outputs} == {direct}
    assert first[1] + joined(pieces) == text_alone(REQUESTS[0])
    taken = call.statistics()
    assert (taken.new_tokens, taken.first_tokens, taken.decode_steps) == (5, 1, 4)
    assert 0 < taken.decode_s <= engine.decode_s


def test_an_interrupt_on_the_way_to_text_ends_one_stream_and_not_the_other() -> None:
    engine = fake_engine()
    calls = Calls(engine)
    broken, sound = call_of(REQUESTS[0]), call_of(REQUESTS[1])
    first, second = stream(calls, broken), stream(calls, sound)
    got = next(first)[1], next(second)[1]

    def interrupted(_: int) -> str:
        raise KeyboardInterrupt

    broken.lines[0].text.push = interrupted
    with pytest.raises(KeyboardInterrupt):
        next(first)
    assert got[1] + joined(second) == text_alone(REQUESTS[1])
    assert engine.unfinished == 0
    assert engine.pool.free(0) == 15


def test_a_stop_string_counts_no_token_that_was_made_after_it() -> None:
    engine = fake_engine()
    made = text_alone(REQUESTS[3])
    end = next(i for i, character in enumerate(made) if i and character not in made[:i])
    call = call_of(REQUESTS[3], stop=made[end])
    pieces = stream(Calls(engine), call)
    text = next(pieces)[1]
    for _ in range(20):
        engine.step()  # by others, past the stop string
    assert text + joined(pieces) == made[:end]
    assert call.statistics().new_tokens == end + 1
    assert engine.unfinished == 0


# ---- what it took


def test_tokens_per_second_count_what_decode_made_and_nothing_else() -> None:
    values = {"batch": 3, "prompt_tokens": 9, "new_tokens": 9, "sequence_length": 6, "ttft_s": 0.1, "decode_steps": 4}
    assert RunStatistics(**values, first_tokens=3, decode_s=2.0).tokens_per_s == 3.0
    assert RunStatistics(**values, first_tokens=1, decode_s=2.0).tokens_per_s == 4.0
    assert RunStatistics(**values, first_tokens=3, decode_s=0.0).tokens_per_s == 0.0


@pytest.mark.parametrize("read", range(1, 12))
def test_a_stream_that_is_closed_early_has_no_negative_speed(read: int) -> None:
    engine = fake_engine(slots=1)  # the second prompt waits for the first
    call = call_of(*REQUESTS[:3])
    pieces = stream(Calls(engine), call)
    for _ in range(read):
        next(pieces)
    pieces.close()
    taken = call.statistics()
    begun = 1 + (read > 5)  # prompts; the first has five tokens, and the third has none yet
    assert (taken.new_tokens, taken.first_tokens, taken.decode_steps) == (read, begun, read - begun)
    assert taken.tokens_per_s == pytest.approx((read - begun) / taken.decode_s if taken.decode_s else 0.0)
    assert engine.unfinished == 0
