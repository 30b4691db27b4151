"""attrs validators of a spec's fields: each refuses a value by the name of its field."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ttfamily.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    import attrs

    Validator: TypeAlias = Callable[[Any, attrs.Attribute[Any], Any], None]

FIX = "Correct it in config.json, or in the family's spec() if that made it."


def refuse(instance: object, attribute: attrs.Attribute[Any], value: object, expected: str) -> ConfigError:
    """Return the error for a value that a field cannot have."""
    return ConfigError(f"{type(instance).__name__}.{attribute.name}", got=repr(value), expected=expected, fix=FIX)


def count(most: int) -> Validator:
    """Accept integers from 1 to ``most``."""

    def check(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if type(value) is not int or not 1 <= value <= most:
            raise refuse(instance, attribute, value, f"an integer from 1 to {most:,}")

    return check


def boolean(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Accept True and False only."""
    if type(value) is not bool:
        raise refuse(instance, attribute, value, "True or False")


def number(least: float, most: float, *, including: bool) -> Validator:
    """Accept finite numbers from ``least``, or above it, to ``most``."""
    bound = f"a number from {least:g} to {most:g}" if including else f"a number above {least:g}, at most {most:g}"

    def check(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        # bool is an int to Python; a switch in the place of a number is a mistake.
        found = value if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
        if not least <= found <= most or (found == least and not including):
            raise refuse(instance, attribute, value, bound)

    return check


def one_of(*names: str) -> Validator:
    """Accept these names."""

    def check(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if value not in names:
            raise refuse(instance, attribute, value, f"one of {', '.join(names)}")

    return check


def made_of(*kinds: type) -> Validator:
    """Accept instances of these classes."""

    def check(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, kinds):
            names = " or ".join("None" if kind is type(None) else kind.__name__ for kind in kinds)
            raise refuse(instance, attribute, value, names)

    return check
