"""The keys of a config that say how positions are rotated, in their old form and in transformers 5's."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs

from ttfamily.core.config.config_keys import CORRECT, ConfigKeys
from ttfamily.core.config.spec import MOST_HEAD_DIM, DynamicScaling, LinearScaling, Llama3Scaling, RopeSpec
from ttfamily.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# The fields of a scaling are the keys that its rope type has in a config.
ROPE_TYPES: Mapping[str, type[LinearScaling | DynamicScaling | Llama3Scaling] | None] = {
    "default": None,
    "linear": LinearScaling,
    "dynamic": DynamicScaling,
    "llama3": Llama3Scaling,
}
_THETA, _PART = "rope_theta", "partial_rotary_factor"
_TRAINED = "original_max_position_embeddings"
# What transformers falls back on (RotaryEmbeddingConfigMixin.default_theta); Llama 2 relies on it.
_DEFAULT_THETA = 10000.0


def read_rope(config: ConfigKeys, head_dim: int, max_position_embeddings: int, *, partial: bool) -> RopeSpec:
    """Read the rotary embedding, as :meth:`~ttfamily.core.config.hf_config.HfConfig.rope` documents it."""
    where, found = _parameters(config)
    kind = _rope_type(config, where, found)
    scaling = ROPE_TYPES[kind]
    keys = [] if scaling is None else [field.name for field in attrs.fields(scaling)]
    # What this type does not read may be switched off; what it reads may not be null or false.
    found = {k: v for k, v in found.items() if k in (*keys, _THETA, _PART) or (v is not None and v is not False)}
    if _TRAINED in keys:
        found = _with_trained_length(config, where, kind, found)
        found.setdefault(_TRAINED, max_position_embeddings)
    if scaling is DynamicScaling:
        # transformers scales from max_position_embeddings and reads no other trained length here.
        config.agree(f"{where}.{_TRAINED}", found[_TRAINED], "max_position_embeddings", max_position_embeddings)
    unknown = sorted(found.keys() - {*keys, _THETA, _PART})
    missing = [key for key in keys if key not in found]
    if unknown or missing:
        raise ConfigError(
            config.who(where),
            got=f"unknown keys: {', '.join(unknown) or 'none'}; missing keys: {', '.join(missing) or 'none'}",
            expected=f"rope_type {kind} with {', '.join(keys) or 'nothing else'}",
            fix="Remove what is left over; if it is not, this scaling is not understood.",
        )
    types: dict[str, type] = {key: int if key == _TRAINED else float for key in (*keys, _THETA, _PART)}
    places = {key: key if config.raw.get(key) is not None else f"{where}.{key}" for key in types}
    values: dict[str, Any] = {
        key: config.typed(places[key], found[key], of_type) for key, of_type in types.items() if key in found
    }
    rotary_dim = _rotary_dim(config, head_dim, values.get(_PART, 1.0), places[_PART], partial=partial)
    with _named(config, {**places, "theta": places[_THETA], "scaling": f"{where}.rope_type"}):
        return RopeSpec(
            theta=values[_THETA],
            rotary_dim=rotary_dim,
            scaling=None if scaling is None else scaling(**{key: values[key] for key in keys}),
        )


def _parameters(config: ConfigKeys) -> tuple[str, dict[str, Any]]:
    forms: dict[str, dict[str, Any]] = {}
    for where in ("rope_parameters", "rope_scaling"):
        given: dict[str, Any] = dict(config.take(where, None, dict) or ())
        if "type" in given:  # the name of rope_type before transformers 4.43
            old = given.pop("type")
            if old is not None or "rope_type" not in given:
                config.agree(f"{where}.type", old, f"{where}.rope_type", given.setdefault("rope_type", old))
        forms[where] = _with_top_level(config, where, given) if given else {}
    new, old_form = forms.values()
    if new and old_form:
        config.agree("rope_parameters", new, "rope_scaling", old_form)
    where = "rope_parameters" if new else "rope_scaling"
    found = new or old_form or _with_top_level(config, where, {})
    if _THETA not in found and _THETA in config.raw:  # null, of which transformers makes no default
        config.typed(_THETA, None, float)
    found.setdefault(_THETA, _DEFAULT_THETA)
    return where, found


def _with_top_level(config: ConfigKeys, where: str, found: dict[str, Any]) -> dict[str, Any]:
    outside = {key: value for key in (_THETA, _PART) if (value := config.take(key, None)) is not None}
    for key, value in outside.items():
        config.agree(key, value, f"{where}.{key}", found.get(key, value))
    return {**outside, **found}


def _with_trained_length(config: ConfigKeys, where: str, kind: str, found: dict[str, Any]) -> dict[str, Any]:
    """Put the trained length beside the scaling's keys into them; of llama3 it is the one that transformers reads."""
    outside, inside = config.take(_TRAINED, None), found.get(_TRAINED)
    if kind == "llama3" and outside is None:
        if _TRAINED in config.raw:
            config.typed(_TRAINED, None, int)
        if _TRAINED in found:
            config.typed(f"{where}.{_TRAINED}", inside, int)
    if outside is not None and inside is not None:
        config.agree(_TRAINED, outside, f"{where}.{_TRAINED}", inside)
    given = {_TRAINED: outside if inside is None else inside}
    rest = {key: value for key, value in found.items() if key != _TRAINED}
    return rest if given[_TRAINED] is None else {**rest, **given}


def _rope_type(config: ConfigKeys, where: str, found: dict[str, Any]) -> str:
    kind = config.typed(f"{where}.rope_type", found.pop("rope_type", "default"), str)
    if kind not in ROPE_TYPES:
        expected = f"one of the known rope types {', '.join(ROPE_TYPES)}"
        fix = "This scaling has to be added to ttfamily before the model can run."
        raise ConfigError(config.who(f"{where}.rope_type"), got=repr(kind), expected=expected, fix=fix)
    return kind


def _rotary_dim(config: ConfigKeys, head_dim: int, part: float, place: str, *, partial: bool) -> int:
    if not 1 <= head_dim <= MOST_HEAD_DIM:
        expected = f"1 to {MOST_HEAD_DIM:,} dimensions of a head"
        raise ConfigError(config.who("head_dim"), got=str(head_dim), expected=expected, fix=CORRECT)
    if not 0 < part <= 1:
        expected = "the part of a head that is rotated: more than 0 and at most 1"
        raise ConfigError(config.who(place), got=str(part), expected=expected, fix=CORRECT)
    rotary_dim = int(head_dim * part)  # transformers rounds down too
    got = f"{rotary_dim} rotated dimensions of {head_dim}"
    if not partial and rotary_dim != head_dim:
        raise ConfigError(
            config.who(place),
            got=got,
            expected="the whole head rotated, as the architecture's own class does, which does not read this key",
            fix="Remove the key if the checkpoint was made by that class.",
        )
    if rotary_dim % 2 or rotary_dim == 0:
        who = config.who("head_dim" if rotary_dim == head_dim else place)
        raise ConfigError(who, got=got, expected="an even number of them, at least 2: they turn in pairs", fix=CORRECT)
    return rotary_dim


@contextmanager
def _named(config: ConfigKeys, places: Mapping[str, str]) -> Iterator[None]:
    """Let an error name the key of the config instead of the spec's field."""
    try:
        yield
    except ConfigError as error:
        place = places[error.who.rpartition(".")[2]]
        raise ConfigError(config.who(place), got=error.got, expected=error.expected, fix=CORRECT) from error
