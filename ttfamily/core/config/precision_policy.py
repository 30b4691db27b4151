"""Precision policies: a format and a fidelity for every group of tensors, by name, from Python or from a JSON file."""

from __future__ import annotations

import json
import os.path
from collections import Counter
from pathlib import Path
from typing import Any

import attrs

from ttfamily.core.config.checks import CHOOSE, entries, one_of, shown, within
from ttfamily.core.config.precision import (
    FORMATS,
    GROUPS,
    Format,
    Layers,
    WeightPrecision,
    converted,
    group_of,
    known,
    layers_of,
    named,
)
from ttfamily.errors import PlanError


@attrs.frozen(kw_only=True)
class PrecisionPolicy:
    """A precision for every tensor group; activations are bf16.

    A group of weights is a :class:`WeightPrecision`, or what a file has for it: ``"bfp8"``, or
    ``{"format": "bfp8", "fidelity": "HiFi4"}``. As a file (docs/precision.md)::

        {"base": "performance", "gate_up": "bfp8", "layers": {"0-1": {"gate_up": "bf16"}, "31": {"kv_cache": "bf16"}}}

    :param kv_cache: the format of keys and values.
    :param layers: what single layers have of their own, by layer, range of layers, or ``"first-last"``; kept
        as pairs in the order of the layers. The rest they take from the policy.
    :param source: what errors call the policy: its file.
    :raises PlanError: if a precision or a layer is none, or a layer is in two ranges.
    """

    qkv: WeightPrecision = attrs.field(converter=group_of)
    out: WeightPrecision = attrs.field(converter=group_of)
    gate_up: WeightPrecision = attrs.field(converter=group_of)
    down: WeightPrecision = attrs.field(converter=group_of)
    lm_head: WeightPrecision = attrs.field(converter=group_of)
    kv_cache: Format = attrs.field(validator=known(*FORMATS))
    layers: Layers = attrs.field(default=(), converter=layers_of)
    source: str = attrs.field(default="precision", eq=False, repr=False)

    def of(self, layer: int) -> PrecisionPolicy:
        """Return what one layer has: a policy without layers of its own."""
        own = next((own.given() for span, own in self.layers if layer in span), {})
        return attrs.evolve(self, layers=(), **own)

    def check_layers(self, count: int) -> None:
        """Check that a model of ``count`` layers has all that are named.

        :raises PlanError: if it does not.
        """
        for span, _ in self.layers:
            if span.stop > count:
                raise PlanError(
                    f"{self.source}, layers.{named(span)}",
                    got=f"layer {max(span.start, count)}",
                    expected=f"0 to {count - 1}: the model has {count} layers",
                    fix="Correct the range.",
                )

    @classmethod
    def from_json(cls, path: str | Path) -> PrecisionPolicy:
        """Read a file of the form that :class:`PrecisionPolicy` shows.

        :raises PlanError: if it cannot be read or is wrong, naming the file and the place in it.
        """
        return _read(Path(path))

    def to_json(self) -> str:
        """Return the text of a file that :meth:`from_json` reads as an equal policy."""
        return _written(self)


POLICIES: dict[str, PrecisionPolicy] = {
    "accuracy": PrecisionPolicy(qkv="bf16", out="bf16", gate_up="bfp8", down="bfp8", lm_head="bfp8", kv_cache="bf16"),
    "performance": PrecisionPolicy(
        qkv="bfp8", out="bfp8", gate_up="bfp4", down="bfp8", lm_head="bfp8", kv_cache="bfp8"
    ),
}


def policy(precision: str | Path | PrecisionPolicy) -> PrecisionPolicy:
    """Return the policy of that name or in that file, or the policy itself.

    :param precision: a string is a name if a policy has it, else a file if it ends with ``.json`` or exists.
    :raises PlanError: if there is no such policy, or the file is wrong.
    """
    if isinstance(precision, PrecisionPolicy):
        return precision
    if isinstance(precision, Path):
        return PrecisionPolicy.from_json(precision)
    if isinstance(precision, str):
        if precision in POLICIES:
            return POLICIES[precision]
        file = os.path.expanduser(precision)  # noqa: PTH111 -- as exists(), it takes any string
        if precision.endswith(".json") or os.path.exists(file):  # noqa: PTH110 -- Path.exists raises for a long one
            return PrecisionPolicy.from_json(file)
    raise PlanError(
        "precision",
        got=shown(precision),
        expected=f"one of {', '.join(POLICIES)}, a JSON file, or a PrecisionPolicy",
        fix=CHOOSE,
    )


# ---- as files


def _read(file: Path) -> PrecisionPolicy:
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


def _written(policy: PrecisionPolicy) -> str:
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
