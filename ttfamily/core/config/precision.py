"""Number formats and math fidelity of groups of tensors, as values: of a weight, of a layer."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import attrs

from ttfamily.core.config.checks import entries, one_of, shown, within
from ttfamily.errors import PlanError
from ttfamily.tiles import TILE_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    import ttnn

Format = Literal["bf16", "bfp8", "bfp4"]
Fidelity = Literal["LoFi", "HiFi2", "HiFi3", "HiFi4"]
Layers = tuple[tuple[range, "LayerPrecision"], ...]

_FIDELITY: dict[str, Fidelity] = {"bf16": "HiFi3", "bfp8": "HiFi2", "bfp4": "LoFi"}

FORMATS = tuple(_FIDELITY)
FIDELITIES = ("LoFi", "HiFi2", "HiFi3", "HiFi4")
OF_A_LAYER = ("qkv", "out", "gate_up", "down", "kv_cache")
GROUPS = ("qkv", "out", "gate_up", "down", "lm_head", "kv_cache")

_LAYERS = re.compile(r"(0|[1-9][0-9]{0,5})(?:-(0|[1-9][0-9]{0,5}))?")


# ---- plain values, as a JSON file has them, become precisions


def _weight(value: object) -> WeightPrecision:
    if isinstance(value, WeightPrecision):
        return value
    if isinstance(value, str):
        return WeightPrecision(one_of("", value, FORMATS))
    expected = f'one of {", ".join(FORMATS)}, or {{"format": ..., "fidelity": ...}}'
    given = entries(value, ("format", "fidelity"), expected)
    if "format" not in given:
        fix = "Give the format; the fidelity follows it unless you give that too."
        raise PlanError("format", got="nothing", expected=f"one of {', '.join(FORMATS)}", fix=fix)
    return WeightPrecision(**given)


def group_of(value: WeightPrecision | str | Mapping[str, str]) -> WeightPrecision:
    """Return a group's precision from a value, a format's name or an entry of a JSON file."""
    with within("group of weights"):
        return _weight(value)


def converted(groups: Mapping[str, object]) -> dict[str, Any]:
    """Return groups, as a JSON file has them, with their precisions.

    :raises PlanError: if one has none.
    """
    found: dict[str, Any] = {}
    for name, value in groups.items():
        with within(name):
            found[name] = one_of("", value, FORMATS) if name == "kv_cache" else _weight(value)
    return found


def _span(key: object) -> range:
    """Return the layers that a key stands for: ``3``, ``range(0, 4)``, ``"3"`` or ``"0-3"``, its end included."""
    if isinstance(key, range):
        span = key
    elif isinstance(key, int) and not isinstance(key, bool):
        span = range(key, key + 1)
    else:
        found = _LAYERS.fullmatch(str(key))
        span = range(int(found[1]), int(found[2] or found[1]) + 1) if found else range(0)
    if not span or span.start < 0 or span.step != 1:
        expected = 'a layer like "3", or a range like "0-3" whose end is not before its beginning'
        raise PlanError("", got=shown(key), expected=expected, fix="Count layers from 0.")
    return span


def named(span: range) -> str:
    """Return a range of layers as a file has it: ``"3"`` or ``"0-3"``."""
    return str(span.start) if len(span) == 1 else f"{span.start}-{span.stop - 1}"


def layers_of(value: Mapping[Any, Any] | Layers) -> Layers:
    """Return the layers' own precisions in the order of the layers.

    :raises PlanError: if a layer has two.
    """
    expected = 'layers and their groups, like {"0-3": {"gate_up": "bf16"}}'
    with within("layers"):
        kept = isinstance(value, tuple) and all(isinstance(pair, tuple) and len(pair) == 2 for pair in value)  # noqa: PLR2004
        pairs: Any = value if kept else entries(value, None, expected).items()
        found: list[tuple[range, LayerPrecision]] = []
        for key, own in pairs:
            with within(named(key) if isinstance(key, range) and key else str(key)):
                found.append((_span(key), LayerPrecision.of(own)))
    found.sort(key=lambda pair: pair[0].start)
    for (before, _), (after, _) in pairwise(found):
        if after.start < before.stop:
            raise PlanError(
                f"layers.{named(after)}",
                got=f"layer {after.start}, which {named(before)} has too",
                expected="every layer in one entry at the most",
                fix="Cut the ranges so that they do not overlap.",
            )
    return tuple(found)


def known(*names: str) -> Any:
    """Return a validator of a field that has one of these names."""
    return lambda _self, field, value: one_of(field.name, value, names)


# ---- the values


@attrs.frozen
class WeightPrecision:
    """How one group of weights is stored and multiplied.

    The fidelity follows the format unless given: the matrix engine multiplies as many bits as the weights
    have (tech report 4.7: LoFi for BFP4, HiFi2 for BFP8), of BF16 all but one part in 2,048. The report has HiFi4
    for BF16; but with sums in float32, which all of ttfamily's matmuls have, Wormhole then gets single results wrong
    by a power of two, and ttnn itself advises HiFi3 (tt-metal issue 38306, pull request 40089).

    A pass of the engine takes 5 bits of a weight and 7 of an activation (tt-metal's matrix_engine report): LoFi is
    one pass, HiFi2 a second for the weight's other bits, HiFi3 a third for the activation's last bit, by the weight's
    first 5, and HiFi4 a fourth for that by the weight's others. LoFi would
    drop 3 of the 8 bits of a BF16 weight; BFP8 keeps more in half the memory, so that is refused. It drops 2 of the
    7 of a BFP8 weight, which the report finds to work at times, so that is allowed.

    :raises PlanError: if format or fidelity are unknown or do not go together.
    """

    format: Format = attrs.field(validator=known(*FORMATS))
    fidelity: Fidelity = attrs.field(validator=known(*FIDELITIES))

    @fidelity.default
    def _fidelity_of_format(self) -> Fidelity:
        return _FIDELITY[self.format] if self.format in FORMATS else "HiFi3"

    @fidelity.validator
    def _keeps_the_weights_bits(self, _: object, value: object) -> None:
        if (self.format, value) == ("bf16", "LoFi"):
            raise PlanError(
                "fidelity",
                got="LoFi for bf16 weights: it multiplies 5 of their 8 bits",
                expected="HiFi3, or HiFi2, which drops the activations' last bit only",
                fix="For speed store them as bfp8 or bfp4 instead, which also takes less memory.",
            )

    @property
    def tile_bytes(self) -> int:
        """Bytes of one 32 x 32 tile."""
        return TILE_BYTES[self.format]


@attrs.frozen(kw_only=True)
class LayerPrecision:
    """What some layers have of their own; None where they have what the model has. Groups as in the policy."""

    qkv: WeightPrecision | None = None
    out: WeightPrecision | None = None
    gate_up: WeightPrecision | None = None
    down: WeightPrecision | None = None
    kv_cache: Format | None = None

    @classmethod
    def of(cls, groups: LayerPrecision | Mapping[str, Any]) -> LayerPrecision:
        """Make it from groups as a JSON file has them.

        :raises PlanError: if a group is unknown, belongs to no layer, or has no precision.
        """
        if isinstance(groups, cls):
            return groups
        fix = "Choose one; lm_head belongs to no layer."
        given = entries(groups, OF_A_LAYER, 'groups and their precisions, like {"gate_up": "bf16"}', fix)
        return cls(**converted(given))

    def given(self) -> dict[str, Any]:
        """Return the groups that are not None."""
        return {name: value for name, value in attrs.asdict(self, recurse=False).items() if value is not None}


def ttnn_dtype(format_: Format) -> ttnn.DataType:
    """Return ttnn's name for a format."""
    import ttnn

    return {"bf16": ttnn.bfloat16, "bfp8": ttnn.bfloat8_b, "bfp4": ttnn.bfloat4_b}[format_]
