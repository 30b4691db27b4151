"""A Hugging Face config.json, read key by key, so that no key that matters is overlooked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from reprlib import repr as shortened
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast, overload

import attrs

from ttfamily.core.config.hf_keys import INERT, REFUSED
from ttfamily.core.config.spec import Activation, DynamicScaling, LinearScaling, Llama3Scaling, RopeSpec
from ttfamily.errors import ConfigError

if TYPE_CHECKING:
    from os import PathLike

T = TypeVar("T")
D = TypeVar("D")

REQUIRED: Any = object()
"""The default of a key that a config must have."""

ACTIVATIONS: Mapping[str, Activation] = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}

# The fields of a scaling are the keys that its rope type has in a config.
ROPE_TYPES: Mapping[str, type[LinearScaling | DynamicScaling | Llama3Scaling] | None] = {
    "default": None,
    "linear": LinearScaling,
    "dynamic": DynamicScaling,
    "llama3": Llama3Scaling,
}
_ROPE_KEYS_OF_ALL = ("rope_theta", "partial_rotary_factor")
_TRAINED = "original_max_position_embeddings"
# What transformers falls back on (RotaryEmbeddingConfigMixin.default_theta); Llama 2 relies on it.
_DEFAULT_THETA = 10000.0
_CORRECT = "Correct config.json."


class PretrainedConfig(Protocol):
    """The part of transformers' config classes that is read here."""

    def to_dict(self) -> dict[str, Any]:
        """Return the config as config.json would hold it."""
        ...


@attrs.frozen(kw_only=True, eq=False)
class HfConfig:
    """The raw config of a model and a note of every key that somebody understood.

    :param raw: config.json as a dictionary.
    :param source: where it came from, for messages.
    """

    raw: Mapping[str, Any]
    source: str
    _taken: set[str] = attrs.field(factory=set, init=False, repr=False)

    @classmethod
    def of(cls, raw: Mapping[str, Any] | PretrainedConfig, source: str = "config") -> HfConfig:
        """Wrap a dictionary or one of transformers' config objects."""
        return cls(raw=raw if isinstance(raw, Mapping) else raw.to_dict(), source=source)

    @classmethod
    def from_folder(cls, path: str | PathLike[str]) -> HfConfig:
        """Read ``config.json`` from a checkpoint folder.

        :raises ConfigError: if there is no such folder, no config.json in it, or it is no JSON object.
        """
        folder = Path(path)
        file = folder / "config.json"
        if not folder.is_dir():
            raise ConfigError(
                str(folder),
                got="a file" if folder.exists() else "no such folder",
                expected="the folder of a Hugging Face checkpoint",
                fix="Check the path; a model's name on the Hub has the form 'owner/model'.",
            )
        if not file.is_file():
            raise ConfigError(
                str(folder),
                got="no config.json",
                expected="config.json beside the weights",
                fix="Point at the folder that save_pretrained() or the Hub's download made.",
            )
        try:
            raw = json.loads(file.read_bytes())
        except (ValueError, RecursionError) as error:
            fix = "Download the file again."
            raise ConfigError(str(file), got=f"broken JSON ({error})", expected="a JSON object", fix=fix) from error
        if not isinstance(raw, dict):
            got = f"a JSON {type(raw).__name__}"
            raise ConfigError(str(file), got=got, expected="a JSON object", fix="Download the file again.")
        return cls(raw=raw, source=str(file))

    @property
    def architecture(self) -> str:
        """The class name that chooses the family: the first of ``architectures``.

        :raises ConfigError: if the config names none.
        """
        names = self.take("architectures", (), list)
        if not names or not isinstance(names[0], str):
            raise ConfigError(
                self._who("architectures"),
                got=repr(self.raw.get("architectures")),
                expected="a list with a class name such as 'LlamaForCausalLM'",
                fix="Add it; save_pretrained() of a model writes it, that of a bare config does not.",
            )
        return names[0]

    @overload
    def take(self, key: str, *, kind: type[T]) -> T: ...
    @overload
    def take(self, key: str, default: D, kind: type[T]) -> T | D: ...
    @overload
    def take(self, key: str, default: object = REQUIRED) -> Any: ...
    def take(self, key: str, default: object = REQUIRED, kind: type | None = None) -> object:
        """Read a key and note it as understood.

        :param default: returned if the key is absent or null; without one the key is required.
        :param kind: the type it must have; an integer passes for ``float`` and is converted.
        :raises ConfigError: naming the key, if it is missing or of another type.
        """
        self._taken.add(key)
        value = self.raw.get(key)
        if value is not None:
            return value if kind is None else self._typed(key, value, kind)
        if default is REQUIRED:
            raise ConfigError(
                self._who(key),
                got="null" if key in self.raw else "no such key",
                expected="a value" if kind is None else f"a value of type {kind.__name__}",
                fix="Check that config.json is complete and belongs to this architecture.",
            )
        return default

    def replacing(self, **values: object) -> HfConfig:
        """Return the config with other values, for a parent's spec(); what that reads counts as read here."""
        other = attrs.evolve(self, raw={**self.raw, **values})
        object.__setattr__(other, "_taken", self._taken)
        return other

    def activation(self, key: str, default: str = REQUIRED) -> Activation:
        """Read an activation by transformers' name for it.

        :raises ConfigError: if the key is missing or names one that the device blocks lack.
        """
        name = self.take(key, default, str)
        if name not in ACTIVATIONS:
            expected = f"one of {', '.join(ACTIVATIONS)}"
            raise ConfigError(self._who(key), got=repr(name), expected=expected, fix=_CORRECT)
        return ACTIVATIONS[name]

    def rope(self, head_dim: int, max_position_embeddings: int) -> RopeSpec:
        """Read the rotary embedding from ``rope_parameters`` (transformers 5) or ``rope_theta`` and ``rope_scaling``.

        Means what transformers 5.23 means (``modeling_rope_utils``), except that two places which
        hold the same value and disagree are an error instead of a matter of precedence.

        :param head_dim: what ``partial_rotary_factor`` is a fraction of.
        :param max_position_embeddings: tokens; the trained length where the config names no other.
        :raises ConfigError: for an unknown type, a missing or an unknown key, or a contradiction.
        """
        where, found = self._rope_parameters()
        kind = str(found.pop("rope_type", "default"))
        if kind not in ROPE_TYPES:
            expected = f"one of the known rope types {', '.join(ROPE_TYPES)}"
            fix = "This scaling has to be added to ttfamily before the model can run."
            raise ConfigError(self._who(f"{where}.rope_type"), got=repr(kind), expected=expected, fix=fix)
        scaling = ROPE_TYPES[kind]
        keys = [] if scaling is None else [field.name for field in attrs.fields(scaling)]
        if _TRAINED in keys:
            found = self._with_top_level(where, found, _TRAINED)
            found.setdefault(_TRAINED, max_position_embeddings)
        if scaling is DynamicScaling:
            # transformers scales from max_position_embeddings and reads no other trained length here.
            self._agree(f"{where}.{_TRAINED}", found[_TRAINED], "max_position_embeddings", max_position_embeddings)
        unknown = sorted(found.keys() - {*keys, *_ROPE_KEYS_OF_ALL})
        missing = [key for key in keys if key not in found]
        if unknown or missing:
            raise ConfigError(
                self._who(where),
                got=f"unknown keys: {', '.join(unknown) or 'none'}; missing keys: {', '.join(missing) or 'none'}",
                expected=f"rope_type {kind} with {', '.join(keys) or 'nothing else'}",
                fix="Remove what is left over; if it is not, this scaling is not understood.",
            )
        part = self._typed(f"{where}.partial_rotary_factor", found.get("partial_rotary_factor", 1.0), float)
        return RopeSpec(
            theta=found["rope_theta"],
            rotary_dim=int(head_dim * part),  # transformers rounds down too
            scaling=None if scaling is None else scaling(**{key: found[key] for key in keys}),
        )

    def finish(self) -> None:
        """Check that nothing in the config was overlooked; call it when the spec is made.

        A key that nobody took is fine if it is inert, or switched off: null, false or empty.

        :raises ConfigError: naming every other key, and for ``auto_map`` and ``quantization_config``.
        """
        left = sorted(
            key
            for key, value in self.raw.items()
            if key not in self._taken and key not in INERT and value is not False and value not in (None, "", [], {})
        )
        for key in left:
            if key in REFUSED:
                expected, fix = REFUSED[key]
                raise ConfigError(self._who(key), got=shortened(self.raw[key]), expected=expected, fix=fix)
        if left:
            raise ConfigError(
                self.source,
                got="keys that are not understood: " + ", ".join(f"{key}={shortened(self.raw[key])}" for key in left),
                expected="keys that the family reads, or that cannot change the graph",
                fix="Remove a key if it means nothing to the model; otherwise the family's spec() has to read it.",
            )

    def _rope_parameters(self) -> tuple[str, dict[str, Any]]:
        forms: dict[str, dict[str, Any]] = {}
        for where in ("rope_parameters", "rope_scaling"):
            given = {k: v for k, v in self.take(where, {}, dict).items() if v is not None and v is not False}
            if "type" in given:  # the name of rope_type before transformers 4.43
                self._agree(f"{where}.type", given["type"], f"{where}.rope_type", given.get("rope_type", given["type"]))
                given["rope_type"] = given.pop("type")
            forms[where] = self._with_top_level(where, given, "rope_theta", "partial_rotary_factor") if given else {}
        new, old = forms.values()
        if new and old:
            self._agree("rope_parameters", new, "rope_scaling", old)
        where = "rope_parameters" if new else "rope_scaling"
        found = new or old or self._with_top_level(where, {}, "rope_theta", "partial_rotary_factor")
        found.setdefault("rope_theta", _DEFAULT_THETA)
        return where, found

    def _with_top_level(self, where: str, found: dict[str, Any], *keys: str) -> dict[str, Any]:
        outside = {key: value for key in keys if (value := self.take(key, None)) is not None}
        for key, value in outside.items():
            self._agree(key, value, f"{where}.{key}", found.get(key, value))
        return {**outside, **found}

    def _agree(self, one: str, a: object, other: str, b: object) -> None:
        if a != b:
            raise ConfigError(
                self._who(one), got=f"{a!r}, while {other} is {b!r}", expected="the same value twice", fix=_CORRECT
            )

    def _typed(self, key: str, value: object, kind: type[T]) -> T:
        if kind is float and type(value) is int:
            return cast("T", float(value))
        # bool is an int to Python; "use_cache": true must not pass for the number 1.
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            expected = f"a value of type {kind.__name__}"
            raise ConfigError(self._who(key), got=repr(value), expected=expected, fix=_CORRECT)
        return value

    def _who(self, key: str) -> str:
        return f"{key} in {self.source}"
