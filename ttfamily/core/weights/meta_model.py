"""The tensors that a checkpoint of a config would hold, from transformers' own model without data."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

import torch

from ttfamily.core.config.hf_keys import INERT
from ttfamily.core.weights.headers import TensorInfo
from ttfamily.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

_DTYPES = ("dtype", "torch_dtype")  # inert for the graph; here the tensors' dtypes follow from them
# What transformers' config and model classes raise of a value that they cannot use, beside their own validation error.
_REFUSALS = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def tensors_of_config(raw: Mapping[str, Any]) -> tuple[str, dict[str, TensorInfo]]:
    """Return the class of transformers' model for a config, and the tensors that it would save.

    Names, shapes and dtypes are those on disk, which transformers may have under other names in memory (GPT-NeoX'
    ``embed_out`` is its ``lm_head``); a tied head appears once. A key that cannot change the graph is not handed
    on: transformers is strict about some that ttfamily does not read.

    :raises ConfigError: if transformers has no causal language model for the config, or refuses it.
    """
    # Here, because transformers takes seconds to import and a folder of weights needs none of it.
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.core_model_loading import revert_weight_conversion

    kind = str(raw.get("model_type"))
    known = {key: value for key, value in raw.items() if key != "auto_map" and (key in _DTYPES or key not in INERT)}
    known["pad_token_id"] = None  # no class's default, which may lie beyond the vocabulary
    try:
        config = AutoConfig.for_model(kind, **_with_floats(kind, known))
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except (*_REFUSALS, StrictDataclassError) as error:
        raise ConfigError(
            "model_type",
            got=f"{kind!r} ({error})",
            expected="a causal language model that transformers knows, with a config that it takes",
            fix="Open the checkpoint's folder instead, or correct the key that transformers names.",
        ) from error
    first: dict[int, str] = {}
    state = model.state_dict(keep_vars=True)  # its own parameters, so that tied ones are the same object
    for name, value in state.items():
        first.setdefault(id(value), name)
    hidden = set(model._keys_to_ignore_on_save or ())  # noqa: SLF001 -- save_pretrained leaves out what it names
    kept = {name: value for name, value in state.items() if first[id(value)] == name and name not in hidden}
    return type(model).__name__, {
        name: TensorInfo(file=None, shape=tuple(value.shape), dtype=value.dtype)
        for name, value in revert_weight_conversion(model, kept).items()
    }


def _with_floats(kind: str, raw: dict[str, Any]) -> dict[str, Any]:
    """Write integers as floats where transformers takes only those; to JSON they are the same numbers."""
    from transformers import CONFIG_MAPPING

    if kind not in CONFIG_MAPPING or not is_dataclass(CONFIG_MAPPING[kind]):
        return raw
    floats = {field.name for field in fields(CONFIG_MAPPING[kind]) if field.type in (float, "float")}
    return {key: float(value) if key in floats and type(value) is int else value for key, value in raw.items()}
