"""The measure that the comparisons stand on: it must see what is wrong and say where."""

from __future__ import annotations

import pytest
import torch

from ttfamily.testing.correlation import assert_pcc, pcc

X = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))


def test_it_is_the_correlation_coefficient() -> None:
    other = torch.randn(3, 5, generator=torch.Generator().manual_seed(1))
    want = torch.corrcoef(torch.stack([X.flatten(), other.flatten()]).double())[0, 1]
    assert pcc(X, other) == pytest.approx(float(want))
    assert pcc(X, 3 * X + 1) == pytest.approx(1.0)
    assert pcc(X, -X) == pytest.approx(-1.0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_one_element_that_is_not_finite_is_enough_to_fail(value: float) -> None:
    broken = X.clone()
    broken[2, 1] = value
    with pytest.raises(AssertionError, match=r"worst at \[2, 1\].*1 of 15 elements are not finite"):
        assert_pcc(broken, X, -1.0)


def test_what_does_not_vary_correlates_with_itself_only() -> None:
    same = torch.full((4,), 2.0)
    assert pcc(same, same.clone()) == 1.0
    assert pcc(same, torch.zeros(4)) == 0.0
    assert pcc(same, X.flatten()[:4]) == 0.0


def test_a_wrong_factor_fails_though_it_correlates() -> None:
    assert_pcc(1.04 * X, X, 0.999)
    with pytest.raises(AssertionError, match=r"norm 1\.1000"):
        assert_pcc(1.1 * X, X, 0.999)


def test_the_message_names_the_worst_element() -> None:
    broken = X.clone()
    broken[1, 4] += 100
    with pytest.raises(AssertionError, match=r"PCC 0\.\d+, want at least 0\.999;.*shape \[3, 5\]; worst at \[1, 4\]"):
        assert_pcc(broken, X, 0.999)


def test_shapes_must_be_the_same() -> None:
    with pytest.raises(AssertionError, match=r"\[5, 3\], want \[3, 5\]"):
        assert_pcc(X.T, X, 0.0)
