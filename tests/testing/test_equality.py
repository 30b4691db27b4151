"""Where two tensors should be the same, the message says who differs, in which steps, how much and where most."""

from __future__ import annotations

import pytest
import torch

from ttfamily.testing.equality import assert_same

WANT = torch.arange(24.0).reshape(4, 6)


def changed(*places: tuple[int, int], by: float = 1.0) -> torch.Tensor:
    got = WANT.clone()
    for place in places:
        got[place] += by
    return got


def test_the_message_names_user_steps_count_and_the_worst_place() -> None:
    got = changed((1, 2), (3, 0), (3, 5))
    got[3, 5] += 6
    with pytest.raises(AssertionError) as caught:
        assert_same(got, WANT, "user of slot 0 in slot 4", ("step",))
    assert str(caught.value) == (
        "user of slot 0 in slot 4: 3 of 24 elements differ, in step 1, 3; worst at step 3, element [5]: got 30, want 23"
    )


def test_many_places_are_cut_short() -> None:
    with pytest.raises(AssertionError, match=r"in token 0, 1, 2, 3, 4, 5 and 14 more; worst"):
        assert_same(torch.ones(20, 2), torch.zeros(20, 2), "embedding", ("token",))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_never_the_same(value: float) -> None:
    got = changed((2, 2), by=value)
    with pytest.raises(AssertionError, match=r"slot 1: 1 of 24 elements differ; worst at element \[2, 2\]"):
        assert_same(got, got, "slot 1")


def test_shapes_are_named() -> None:
    with pytest.raises(AssertionError, match=r"slot 1: got shape \[6, 4\], want \[4, 6\]"):
        assert_same(WANT.T, WANT, "slot 1")


def test_the_same_passes() -> None:
    assert_same(WANT, WANT.clone(), "slot 1", ("step",))
