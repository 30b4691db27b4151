"""A Hugging Face config.json, read key by key, so that no key that matters is overlooked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from ttfamily.core.config.checks import quoted
from ttfamily.core.config.config_keys import CORRECT, REQUIRED, ConfigKeys
from ttfamily.core.config.hf_keys import INERT, NUMBERS, REFUSED
from ttfamily.core.config.json_text import RepeatedKeyError, parse
from ttfamily.core.config.rope_keys import read_rope
from ttfamily.errors import ConfigError

if TYPE_CHECKING:
    from os import PathLike

    from ttfamily.core.config.spec import Activation, RopeSpec

LARGEST_FILE = 16 * 2**20
"""Bytes of a config.json; those of published models have some thousands."""

ACTIVATIONS: Mapping[str, Activation] = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}

_SHOWN, _LONGEST_KEY = 8, 60  # how many unknown keys a message names, and characters of each


class PretrainedConfig(Protocol):
    """The part of transformers' config classes that is read here."""

    def to_dict(self) -> dict[str, Any]:
        """Return the config as config.json would hold it."""
        ...


@attrs.frozen(kw_only=True, eq=False)
class HfConfig(ConfigKeys):
    """A model's config, read key by key: what a family's ``spec()`` is given.

    :param raw: config.json as a dictionary.
    :param source: where it came from, for messages.
    """

    @classmethod
    def of(cls, raw: Mapping[str, Any] | PretrainedConfig, source: str = "config") -> HfConfig:
        """Wrap a dictionary or one of transformers' config objects."""
        return cls(raw=raw if isinstance(raw, Mapping) else raw.to_dict(), source=source)

    @classmethod
    def from_folder(cls, path: str | PathLike[str]) -> HfConfig:
        """Read ``config.json`` from a checkpoint folder.

        :raises ConfigError: if there is no such folder, no config.json in it, or it is no JSON object with
            every key once.
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
        return cls(raw=_read_object(file), source=str(file))

    @property
    def architecture(self) -> str:
        """The class name that chooses the family: the first of ``architectures``.

        :raises ConfigError: if the config names none.
        """
        names = self.take("architectures", (), list, null=())
        if not names or not isinstance(names[0], str):
            raise ConfigError(
                self.who("architectures"),
                got=quoted(self.raw.get("architectures")),
                expected="a list with a class name such as 'LlamaForCausalLM'",
                fix="Add it; save_pretrained() of a model writes it, that of a bare config does not.",
            )
        return names[0]

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
            raise ConfigError(self.who(key), got=quoted(name), expected=expected, fix=CORRECT)
        return ACTIVATIONS[name]

    def rope(self, head_dim: int, max_position_embeddings: int, *, partial: bool = True) -> RopeSpec:
        """Read the rotary embedding from ``rope_parameters`` (transformers 5) or ``rope_theta`` and ``rope_scaling``.

        Means what transformers 5.23 means (``modeling_rope_utils``), except that two places which
        hold the same value and disagree are an error instead of a matter of precedence.

        :param head_dim: what ``partial_rotary_factor`` is a fraction of.
        :param max_position_embeddings: tokens; the trained length where the config names no other.
        :param partial: whether the architecture reads ``partial_rotary_factor``; where it does not, one that
            leaves part of a head unturned is refused.
        :raises ConfigError: for an unknown type, a missing or an unknown key, a value that cannot be, or a
            contradiction.
        """
        return read_rope(self, head_dim, max_position_embeddings, partial=partial)

    def finish(self) -> None:
        """Check that nothing in the config was overlooked; call it when the spec is made.

        A key that nobody took is fine if it is inert, or switched off: null, false or empty.

        :raises ConfigError: naming every other key, and for ``auto_map`` and ``quantization_config``.
        """
        left = sorted(
            key for key, value in self.raw.items() if not (key in self._taken or key in INERT or _is_off(key, value))
        )
        for key in left:
            if key in REFUSED:
                expected, fix = REFUSED[key]
                raise ConfigError(self.who(key), got=quoted(self.raw[key]), expected=expected, fix=fix)
        if left:
            named = ", ".join(f"{key[:_LONGEST_KEY]}={quoted(self.raw[key])}" for key in left[:_SHOWN])
            more = f" and {len(left) - _SHOWN} more" if len(left) > _SHOWN else ""
            raise ConfigError(
                self.source,
                got=f"keys that are not understood: {named}{more}",
                expected="keys that the family reads, or that cannot change the graph",
                fix="Remove a key if it means nothing to the model; otherwise the family's spec() has to read it.",
            )


def _is_off(key: str, value: object) -> bool:
    """Whether a value says that there is no such thing; an empty text is no way to say it of a number."""
    if value is None or value is False:
        return True
    return key not in NUMBERS and value in ("", [], {})


def _read_object(file: Path) -> dict[str, Any]:
    again = "Download the file again."
    try:
        size = file.stat().st_size
        if size > LARGEST_FILE:
            expected = f"a config of at most {LARGEST_FILE:,} bytes"
            raise ConfigError(str(file), got=f"{size:,} bytes", expected=expected, fix=again)
        raw = parse(file.read_bytes())
    except RepeatedKeyError as error:
        who, fix = f"{error.key} in {file}", "Remove the one that is wrong: readers differ in which of them they take."
        raise ConfigError(who, got="this key twice", expected="every key once", fix=fix) from error
    except (OSError, ValueError, RecursionError) as error:
        got = f"a file that cannot be read ({error})" if isinstance(error, OSError) else f"broken JSON ({error})"
        raise ConfigError(str(file), got=got, expected="a JSON object", fix=again) from error
    if not isinstance(raw, dict):
        got = f"a JSON {type(raw).__name__}"
        raise ConfigError(str(file), got=got, expected="a JSON object", fix=again)
    return raw
