"""Which arguments a golden function takes, and which it would drop without a word."""

from __future__ import annotations

from typing import Any

import pytest
import ttnn

from ttfamily.errors import SimulatorError
from ttfamily.sim.golden.arguments import kept, takes
from ttfamily.sim.golden.kernel import operations


def drops(x: Any, scale: float = 1.0, *args: Any, **kwargs: Any) -> Any:
    return x * scale


def looks_up(x: Any, **kwargs: Any) -> Any:
    return x + kwargs.get("shift", 0)


def passes_on(*args: Any, **kwargs: Any) -> Any:
    return drops(*args, **kwargs)


def wrapped() -> Any:
    inner = looks_up

    def outer(*args: Any, **kwargs: Any) -> Any:
        return inner(*args, **kwargs)

    return outer


@pytest.mark.parametrize(
    ("function", "name", "taken"),
    [
        (drops, "scale", True),
        (drops, "shift", False),
        (drops, "args", False),
        (drops, "kwargs", False),
        (looks_up, "shift", True),
        (looks_up, "other", False),
        (passes_on, "scale", True),
        (passes_on, "shift", False),
        (wrapped(), "shift", True),
        (wrapped(), "other", False),
    ],
)
def test_what_a_function_takes_by_name(function: Any, name: str, taken: bool) -> None:
    assert takes(function, name) == taken


@pytest.mark.parametrize(
    ("function", "args", "kwargs"),
    [
        (drops, (1.0, 2.0, 3.0), {}),
        (drops, (1.0,), {"shift": 2.0}),
        (drops, (1.0,), {"fast_and_approximate_mode": True}),
        (looks_up, (1.0, 2.0), {}),
        (looks_up, (1.0,), {"other": 0}),
    ],
)
def test_an_argument_that_would_be_dropped_is_an_error(function: Any, args: Any, kwargs: Any) -> None:
    with pytest.raises(SimulatorError, match=r"ttnn\.op: got .*golden function of this op does not know"):
        kept("ttnn.op", function, args, kwargs)


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((1.0, 2.0, ttnn.L1_MEMORY_CONFIG, None), {}),
        ((1.0, 2.0), {"memory_config": ttnn.L1_MEMORY_CONFIG, "queue_id": 0, "dtype": ttnn.bfloat16}),
        ((1.0, 2.0), {"shift": None, "fast_and_approximate_mode": False, "numeric_stable": True}),
    ],
)
def test_what_only_says_where_or_nothing_is_left_out(args: Any, kwargs: Any) -> None:
    assert kept("ttnn.op", drops, args, kwargs) == ([1.0, 2.0], {})


def test_what_is_taken_reaches_the_function() -> None:
    assert kept("ttnn.op", passes_on, (1.0,), {"scale": 2.0}) == ([1.0], {"scale": 2.0})
    assert kept("ttnn.op", wrapped(), (1.0, 2.0), {"shift": 3}) == ([1.0, 2.0], {"shift": 3})


# Of ttnn's own functions, where reading them says what they do.
@pytest.mark.parametrize(
    ("op", "name", "taken"),
    [
        ("softmax", "dim", True),
        ("softmax", "compute_kernel_config", False),
        ("sqrt", "fast_and_approximate_mode", False),
        ("exp", "fast_and_approximate_mode", True),
        ("slice", "starts", True),
        ("scatter", "reduce", False),
        ("eq_", "activations", False),
        ("uniform", "from", True),
    ],
)
def test_what_ttnns_golden_functions_take(op: str, name: str, taken: bool) -> None:
    assert takes(operations()[f"ttnn.{op}"].golden_function, name) == taken
