"""Values of a family's own: from its config, past the core, to its own blocks and transforms."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from ttfamily.errors import ConfigError, PluginError


class Own(Mapping[str, Any]):
    """A mapping that cannot change, of names to plain values: bool, int, float, str, None, and tuples of them.

    :param values: any mapping.
    :raises ConfigError: naming the value that is of another kind; a list is one, since it can change.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            if not isinstance(name, str) or not _plain(value):
                raise ConfigError(
                    f"ModelSpec.own[{name!r}]",
                    got=repr(value),
                    expected="a bool, a finite number, a string, None, or a tuple of those, under a name",
                    fix="Make it one in the family's spec(): tuple(...) of a list, for example.",
                )
        self._values = dict(values)

    def __getitem__(self, name: str) -> Any:
        if name not in self._values:
            raise PluginError(
                "ModelSpec.own",
                got=f"no value {name!r}",
                expected=f"one of {', '.join(map(repr, self._values)) or 'none: the family puts nothing there'}",
                fix=f"Read it in the family's spec(), and return the spec with own={{{name!r}: ...}}.",
            )
        return self._values[name]

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def get(self, name: str, default: Any = None) -> Any:
        """Return a value, or the default if there is none of that name."""
        return self._values.get(name, default)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(frozenset(self._values.items()))

    def __repr__(self) -> str:
        return repr(self._values)


def _plain(value: object) -> bool:
    if isinstance(value, tuple):
        return all(map(_plain, value))
    return value is None or isinstance(value, (bool, int, str)) or (isinstance(value, float) and math.isfinite(value))
