"""Single keys of a config: read by name, checked for their type, noted as understood."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast, overload

import attrs

from ttfamily.core.config.checks import quoted
from ttfamily.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")
D = TypeVar("D")
N = TypeVar("N")

REQUIRED: Any = object()
"""The default of a key that a config must have."""

CORRECT = "Correct config.json."
INTEGERS = 2**63
"""Integers from here on are no sizes: other readers of the file take 64 bits for one."""

_AS_DEFAULT: Any = object()


@attrs.frozen(kw_only=True, eq=False)
class ConfigKeys:
    """The raw config of a model and a note of every key that somebody understood.

    :param raw: config.json as a dictionary.
    :param source: where it came from, for messages.
    """

    raw: Mapping[str, Any]
    source: str
    _taken: set[str] = attrs.field(factory=set, init=False, repr=False)

    @overload
    def take(self, key: str, *, kind: type[T]) -> T: ...
    @overload
    def take(self, key: str, default: D, kind: type[T]) -> T | D: ...
    @overload
    def take(self, key: str, default: D, kind: type[T], *, null: N) -> T | D | N: ...
    @overload
    def take(self, key: str, default: object = REQUIRED) -> Any: ...
    def take(
        self, key: str, default: object = REQUIRED, kind: type | None = None, *, null: object = _AS_DEFAULT
    ) -> object:
        """Read a key and note it as understood.

        :param default: returned if the key is absent; without one the key is required.
        :param kind: the type it must have; an integer passes for ``float`` and is converted. A float must
            be finite, an integer must fit 64 bits.
        :param null: what null means, where the architecture's config class gives it a meaning. Without it
            null means None where that is the default, and is an error elsewhere.
        :raises ConfigError: naming the key, if it is missing, null or of another type.
        """
        self._taken.add(key)
        if key not in self.raw:
            if default is not REQUIRED:
                return default
            self._refuse_absent(key, "no such key", kind)
        value = self.raw[key]
        if value is not None:
            return value if kind is None else self.typed(key, value, kind)
        if null is not _AS_DEFAULT:
            return null
        if default is None:
            return None
        if default is REQUIRED:
            self._refuse_absent(key, "null", kind)
        fix = f"Remove the key if the default is meant, which is {quoted(default)}; otherwise correct it."
        raise ConfigError(self.who(key), got="null", expected=_of_type(kind), fix=fix)

    def typed(self, key: str, value: object, kind: type[T]) -> T:
        """Return a value that must be of a type, as :meth:`take` does, wherever it was found.

        :param key: for messages: where it was found.
        :raises ConfigError: if it is of another type.
        """
        # bool is an int to Python; "use_cache": true must not pass for the number 1.
        right = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
        if type(value) is int and kind in (int, float):
            right = abs(value) < INTEGERS
            value = float(value) if kind is float and right else value
        if isinstance(value, float) and not math.isfinite(value):
            right = False
        if not right:
            raise ConfigError(self.who(key), got=quoted(value), expected=_of_type(kind), fix=CORRECT)
        return cast("T", value)

    def agree(self, one: str, a: object, other: str, b: object) -> None:
        """Check that two places that hold the same value do not differ.

        :raises ConfigError: if they do.
        """
        if a != b:
            got = f"{quoted(a)}, while {other} is {quoted(b)}"
            raise ConfigError(self.who(one), got=got, expected="the same value twice", fix=CORRECT)

    def who(self, key: str) -> str:
        """Return a key with its source, as messages name it."""
        return f"{key} in {self.source}"

    def _refuse_absent(self, key: str, got: str, kind: type | None) -> NoReturn:
        fix = "Check that config.json is complete and belongs to this architecture."
        raise ConfigError(self.who(key), got=got, expected=_of_type(kind), fix=fix)


def _of_type(kind: type | None) -> str:
    if kind is None:
        return "a value"
    limits = {float: ", finite", int: " of 64 bits"}
    return f"a value of type {kind.__name__}{limits.get(kind, '')}"
