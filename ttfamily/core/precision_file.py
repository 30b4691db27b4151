"""Precision policies as JSON files."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs

from ttfamily.core.checks import entries, one_of, within
from ttfamily.core.precision import GROUPS, POLICIES, PrecisionPolicy, WeightPrecision, converted
from ttfamily.errors import PlanError

if TYPE_CHECKING:
    from pathlib import Path


def read(file: Path) -> PrecisionPolicy:
    """Read a policy.

    :raises PlanError: if the file cannot be read or is wrong, naming it and the place in it.
    """
    with within(str(file), ", "):
        data = entries(_parsed(file), (*GROUPS, "base", "layers"), "an object with the precisions of tensor groups")
        base: dict[str, Any] = {}
        if "base" in data:
            named = POLICIES[one_of("base", data.pop("base"), tuple(POLICIES))]
            base = {group: getattr(named, group) for group in GROUPS}
        layers = data.pop("layers", {})
        missing = [group for group in GROUPS if group not in base | data]
        if missing:
            raise PlanError(
                "",
                got=f"nothing for {', '.join(missing)}",
                expected=f"all of {', '.join(GROUPS)}, or a base: {', '.join(POLICIES)}",
                fix='Add them, or "base".',
            )
        return PrecisionPolicy(**{**base, **converted(data)}, layers=layers, source=str(file))


def _parsed(file: Path) -> Any:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        got = getattr(error, "strerror", None) or str(error)
        raise PlanError("", got=got, expected="a JSON file that can be read", fix="Check the path.") from error
    try:
        return json.loads(text, object_pairs_hook=_marked)
    except json.JSONDecodeError as error:
        raise PlanError(
            f"line {error.lineno}, column {error.colno}", got=error.msg, expected="JSON", fix="Correct it there."
        ) from error
    except (RecursionError, ValueError) as error:
        raise PlanError("", got=str(error), expected="a policy", fix="Correct the file.") from error


class _Twice:
    """Stands for a name's value where JSON has the name twice in one object, and Python would keep the last."""

    def __repr__(self) -> str:
        return "two entries of this name"


def _marked(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    counts = Counter(name for name, _ in pairs)
    return {name: value if counts[name] == 1 else _Twice() for name, value in made.items()}


def written(policy: PrecisionPolicy) -> str:
    """Return a policy as the text of a file, every group in it."""
    data: dict[str, Any] = {group: _plain(getattr(policy, group)) for group in GROUPS}
    if policy.layers:
        data["layers"] = {
            f"{span.start}-{span.stop - 1}": {name: _plain(value) for name, value in own.given().items()}
            for span, own in policy.layers
        }
    return json.dumps(data, indent=2) + "\n"


def _plain(precision: WeightPrecision | str) -> Any:
    if isinstance(precision, str):
        return precision
    follows = precision == WeightPrecision(precision.format)
    return precision.format if follows else attrs.asdict(precision)
