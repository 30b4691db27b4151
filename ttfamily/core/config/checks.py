"""Checks of plain data from users. An error's ``who`` is the path to the bad value, which callers put more before."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ttfamily.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Iterator

CHOOSE = "Choose one."


@contextmanager
def within(part: str, separator: str = ".") -> Iterator[None]:
    """Put ``part`` before the path of what an error in this block is about."""
    try:
        yield
    except PlanError as error:
        who = separator.join(filter(None, (part, error.who)))
        raise PlanError(who, got=error.got, expected=error.expected, fix=error.fix) from error.__cause__


def shown(value: object) -> str:
    """A value of a JSON file as a message has it: short, and null, true and false as in JSON."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return quoted(value)


def quoted(value: object) -> str:
    """A value as Python writes it, shortened."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = 60
    return short.repr(value)


def one_of(who: str, value: object, known: tuple[str, ...], fix: str = CHOOSE) -> Any:
    """Return ``value``.

    :raises PlanError: if it is none of ``known``.
    """
    if value not in known:
        raise PlanError(who, got=shown(value), expected=f"one of {', '.join(known)}", fix=fix)
    return value


def entries(value: object, known: tuple[str, ...] | None, expected: str, fix: str = CHOOSE) -> dict[Any, Any]:
    """Return what a mapping has.

    :param known: the keys that it may have; any if None.
    :raises PlanError: if it is no mapping, or has another key.
    """
    if not isinstance(value, Mapping):
        raise PlanError("", got=shown(value), expected=expected, fix="Correct it.")
    for key in value:
        if known is not None and key not in known:
            raise PlanError(str(key), got="an unknown name", expected=f"one of {', '.join(known)}", fix=fix)
    return dict(value)
