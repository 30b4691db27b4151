"""What callers may hand in is taken in any form that is exact; the rest is refused before anything runs, by name."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ttfamily.engine import checks
from ttfamily.engine.checks import LONGEST_STOP, MOST_STOPS, Bounds
from ttfamily.engine.sampling import Sampling
from ttfamily.errors import RequestError, TtfamilyError
from ttfamily.load_arguments import load_arguments

if TYPE_CHECKING:
    from collections.abc import Callable

BOUNDS = Bounds(slots=3, max_seq_len=100, vocab_size=101, longest_chunk=64)
HUGE = 2**70
IDS = [5, 6, 100]
FORMS: list[Any] = [
    IDS, tuple(IDS), np.array(IDS), np.array(IDS, dtype=np.uint8), [np.int16(i) for i in IDS], torch.tensor(IDS),
    *(torch.tensor(IDS).to(dtype) for dtype in (torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.int8)),
    [torch.tensor(i) for i in IDS],
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS, ids=lambda form: str(getattr(form, "dtype", type(form).__name__)))
def test_token_ids_may_be_any_sequence_or_array_of_integers(form: Any) -> None:
    assert checks.prompt(BOUNDS, form) == IDS
    assert checks.prompts(form) == ([IDS], True)
    assert checks.prompts([form, "text"]) == ([IDS, "text"], False)
    assert checks.step(BOUNDS, form, torch.tensor([3, 99, 0], dtype=torch.uint8)) == (IDS, [3, 99, 0])


def test_prompts_of_one_length_may_be_rows_of_an_array() -> None:
    rows = torch.arange(6).reshape(2, 3)
    assert checks.prompts(rows) == checks.prompts(rows.numpy()) == ([[0, 1, 2], [3, 4, 5]], False)


NO_IDS: list[tuple[Any, str]] = [
    (None, "None"), (3, "3"), (2.5, "2.5"), (b"abc", "bytes"), (bytearray(b"abc"), "bytearray"), ({1: 2}, "dict"),
    ({1, 2}, "set"), (iter([1]), "iterator"), ([1, 2.0], "2.0"), ([1, None], "None"), ([1, True], "True"),
    ([True], "True"), ([1, "a"], "1 .int"), ([[1], [2.5]], "2.5"), ([[[1]]], "list"), ([b"ab"], "bytes"),
    ([{1: 2}], "dict"),
    (np.array([1.0]), "float64"), (np.array([True]), "bool"), (np.array([None]), "object"), (np.array(3), r"\[\]"),
    (torch.tensor([1.0]), "float32"), (torch.tensor([True]), "bool"), (torch.tensor(3), r"\[\]"),
    (torch.empty(3, dtype=torch.int64, device="meta"), "meta"), (torch.zeros(1, 1, 3, dtype=torch.int64), r"\[1, 3\]"),
    (torch.tensor([1 + 1j]), "complex64"), (torch.eye(3, dtype=torch.int64).to_sparse(), "tensor"), ([], "0 tokens"),
    (object(), "object"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "got"), NO_IDS, ids=lambda v: None if isinstance(v, str) else type(v).__name__)
def test_what_is_no_prompt_is_refused_and_named(value: Any, got: str) -> None:
    with pytest.raises(RequestError, match=rf"prompt.*got .*{got}.*; expected"):
        checks.prompts(value)


def test_a_prompt_that_is_no_unicode_is_refused() -> None:
    with pytest.raises(RequestError, match=r"prompt\[1\]: got half of a surrogate pair") as raised:
        checks.prompts(["fine", "\ud83d"])
    str(raised.value).encode()


@pytest.mark.parametrize(("ids", "message"), [
    ([HUGE], f"the id {HUGE}; expected ids from 0 to 100"), ([-1], "the id -1"), ([1] * 101, "101 tokens.*Shorten"),
    ([], "0 tokens; expected 1 to 100.*Send at least one"),
    (torch.tensor([2**64 - 1], dtype=torch.uint64), f"the id {2**64 - 1}"),
    (torch.zeros(2, 3, dtype=torch.int64), r"shape \[2, 3\].*row by row"),
])  # fmt: skip
def test_a_prompt_out_of_range_is_refused_with_its_number(ids: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        checks.prompt(BOUNDS, ids)


@pytest.mark.parametrize("value", [0.0, "0", None, -1, 3, True, HUGE, [0], torch.tensor([0, 1]), torch.tensor(0.0)])
def test_a_slot_is_an_integer_of_the_model(value: Any) -> None:
    with pytest.raises(RequestError, match=r"slot: got .*; expected an integer, 0 to 2"):
        checks.slot(BOUNDS, value)


def test_a_step_names_what_is_wrong_with_it() -> None:
    unsigned = torch.tensor([255, 0, 0], dtype=torch.uint8)
    with pytest.raises(RequestError, match=r"positions: got 255; expected -1 .an empty slot. to 99"):
        checks.step(BOUNDS, [1, 1, 1], unsigned)
    with pytest.raises(RequestError, match=r"positions: got shape \[1\]; expected \[3\]"):
        checks.step(BOUNDS, [1, 1, 1], [0])
    with pytest.raises(RequestError, match=r"tokens: got a tensor of torch.float32; expected \[3\] integers"):
        checks.step(BOUNDS, torch.zeros(3), [0, 0, 0])
    assert checks.step(BOUNDS, [7, HUGE, -5], [0, -1, -1]) == ([7, 0, 0], [0, -1, -1])  # empty slots have no token


NO_NUMBERS: list[Any] = ["1", None, [1], b"1", 1j, math.nan, math.inf, -math.inf, True, torch.tensor(1.0), Decimal(1)]
NO_INTEGERS: list[Any] = ["12", 2.5, 2.0, math.nan, math.inf, True, [1], torch.tensor([1, 2]), torch.tensor(1.0), b"1"]


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
@pytest.mark.parametrize("name", ["temperature", "top_p"])
def test_a_number_of_another_kind_is_refused_by_name(name: str, value: Any) -> None:
    if (name, value) == ("top_p", None):
        return
    with pytest.raises(RequestError, match=rf"{name}: got .*; expected a .*number"):
        Sampling(**{name: value})


@pytest.mark.parametrize("value", NO_INTEGERS, ids=repr)
def test_an_integer_of_another_kind_is_refused_by_name(value: Any) -> None:
    for name in ("top_k", "seed"):
        with pytest.raises(RequestError, match=rf"{name}: got .*; expected an integer"):
            Sampling(**{name: value})
    with pytest.raises(RequestError, match=r"max_new_tokens: got .*; expected an integer"):
        checks.new_tokens(value)


def test_numbers_of_all_exact_kinds_are_taken() -> None:
    made = Sampling(temperature=Fraction(1, 2), top_k=np.int64(3), top_p=np.float32(0.5), seed=np.int32(-7))
    assert made.generator().initial_seed() == Sampling(seed=-7).generator().initial_seed()
    assert checks.new_tokens(np.uint8(200)) == 200
    assert checks.new_tokens(HUGE) == HUGE
    with pytest.raises(RequestError, match=r"temperature: got 10+"):
        Sampling(temperature=10**400)


def test_seeds_are_one_for_all_or_one_each() -> None:
    assert checks.seeds(None, 2) == [None, None]
    assert checks.seeds(7, 2) == [7, 7]
    assert checks.seeds(np.array([1, 2]), 2) == checks.seeds((1, 2), 2) == [1, 2]
    for value in ("12", 1.5, {1: 2}, [1, 2.5], [None, 1], True, torch.tensor([1.0, 2.0])):
        with pytest.raises(
            RequestError, match=r"seed.*got (?!. seeds).*; expected an integer: one for all prompts, or 2"
        ):
            checks.seeds(value, 2)
    with pytest.raises(RequestError, match="seed: got 3 seeds"):
        checks.seeds([1, 2, 3], 2)
    with pytest.raises(RequestError, match=f"seed: got {HUGE}; expected an integer of up to 64 bits"):
        Sampling(seed=HUGE)


def test_stop_strings_are_strings_and_bounded() -> None:
    assert checks.stops(None) == ()
    assert checks.stops("end") == checks.stops(["", "end"]) == ("end",)
    long, many = "x" * (LONGEST_STOP + 1), ["x"] * (MOST_STOPS + 1)
    for value in ([None], b"x", [b"x"], {"a": 1}, {"a"}, 3, ["a", 3], [["a"]], long, many):
        with pytest.raises(RequestError, match=r"stop: got .*; expected a string, or a list of up to 64") as raised:
            checks.stops(value)
        assert len(str(raised.value)) < 300


ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.binary(max_size=5)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=6,
)


@given(value=ANYTHING)
def test_whatever_is_handed_in_is_taken_or_refused_and_nothing_else(value: Any) -> None:
    for check in (
        checks.prompts, checks.stops, checks.new_tokens, lambda v: checks.prompt(BOUNDS, v),
        lambda v: checks.slot(BOUNDS, v), lambda v: checks.seeds(v, 2), lambda v: checks.step(BOUNDS, v, v),
        lambda v: load_arguments(v, v, v), lambda v: Sampling(temperature=v), lambda v: Sampling(top_p=v),
        lambda v: Sampling(top_k=v), lambda v: Sampling(seed=v).generator(),
    ):  # fmt: skip
        refused = refusal(check, value)
        assert len(refused) < 500
        refused.encode()


def refusal(check: Callable[[Any], Any], value: Any) -> str:
    """What an error says; nothing if there is none."""
    try:
        check(value)
    except TtfamilyError as error:
        return str(error)
    return ""
