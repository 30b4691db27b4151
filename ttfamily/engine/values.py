"""Numbers and sequences that callers hand in, Python's, numpy's or torch's, as plain Python values."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ttfamily.core.config.checks import quoted
from ttfamily.errors import RequestError

if TYPE_CHECKING:
    from typing import TypeGuard

CORRECT = "Correct the request."
TOKENS = "the ids of tokens: integers in one dimension"
SEEDS = range(-(2**63), 2**64)  # that torch takes
INTEGERS = (
    torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.int8, torch.int16, torch.int32, torch.int64,
)  # fmt: skip


def shown(value: object) -> str:
    """A value of a Python call as a message has it: on one line, short, with its type."""
    text = " ".join(quoted(value).split())
    return text if value is None else f"{text} ({type(value).__name__})"


def integer(who: str, value: object, least: int, most: int | None, expected: str, fix: str = CORRECT) -> int:
    """Return an integer: Python's, numpy's, or a tensor of one.

    :raises RequestError: if it is none (a bool and a float are none), or out of range.
    """
    number = index(value)
    if number is None or number < least or (most is not None and number > most):
        raise RequestError(who, got=shown(value) if number is None else str(number), expected=expected, fix=fix)
    return number


def integers(who: str, values: object, expected: str = TOKENS) -> list[int]:
    """Return the integers of a sequence, a numpy array or a tensor of one dimension.

    :raises RequestError: if it is none of these, or something else is in it.
    """
    if isinstance(values, torch.Tensor):
        if values.is_meta or values.layout != torch.strided or values.dtype not in INTEGERS:
            got = (
                "a tensor on the meta device, which has no values" if values.is_meta else f"a tensor of {values.dtype}"
            )
            raise RequestError(who, got=got, expected=expected, fix="Convert it.")
    elif isinstance(values, np.ndarray):
        if values.dtype.kind not in "iu":
            raise RequestError(who, got=f"an array of {values.dtype}", expected=expected, fix="Convert it.")
    elif not is_sequence(values):
        raise RequestError(who, got=shown(values), expected=expected, fix=CORRECT)
    if isinstance(values, (torch.Tensor, np.ndarray)):
        if values.ndim != 1:
            raise RequestError(who, got=f"shape {list(values.shape)}", expected=expected, fix="Send it row by row.")
        return [int(value) for value in values.tolist()]
    return [_entry(who, at, value, expected) for at, value in enumerate(values)]


def real(who: str, value: object, least: float, most: float, expected: str) -> float:
    """Return a finite number from ``least`` to ``most``.

    :raises RequestError: if it is none.
    """
    try:
        number = float(value) if isinstance(value, Real) and not isinstance(value, (bool, np.bool_)) else math.nan
    except OverflowError:
        number = math.inf
    if not (math.isfinite(number) and least <= number <= most):
        raise RequestError(who, got=shown(value), expected=expected, fix=CORRECT)
    return number


def _entry(who: str, at: int, value: object, expected: str) -> int:
    number = index(value)
    if number is None:
        raise RequestError(f"{who}[{at}]", got=shown(value), expected=expected, fix=CORRECT)
    return number


def index(value: object) -> int | None:
    """Return an integer of any kind as Python's; None for anything else: a bool and a float are no integers."""
    if isinstance(value, (bool, np.bool_)) or (isinstance(value, torch.Tensor) and value.dtype not in INTEGERS):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]  # it says itself whether it can
    except (TypeError, ValueError, RuntimeError):  # a tensor of several, or on the meta device
        return None


def is_sequence(value: object) -> TypeGuard[Sequence[Any]]:
    """Whether something is a list, a tuple or the like, and neither text nor bytes."""
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray, memoryview))
