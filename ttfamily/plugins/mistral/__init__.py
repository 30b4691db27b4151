"""Mistral: Llama with a sliding attention window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from ttfamily.hookspecs import hookimpl
from ttfamily.plugins import llama

if TYPE_CHECKING:
    from ttfamily.core.config.hf_config import HfConfig
    from ttfamily.core.config.spec import ModelSpec
    from ttfamily.family import Family

TTFAMILY_CONTRACT = 2
# transformers' defaults, for a config without the key
WINDOW = 4096
KEY_VALUE_HEADS = 8


def spec(config: HfConfig) -> ModelSpec:
    """Read a ``MistralForCausalLM`` config (transformers' ``MistralConfig``).

    :raises ConfigError: naming the key that is missing, of the wrong type or impossible.
    """
    heads = config.take("num_key_value_heads", KEY_VALUE_HEADS, int)
    base = llama.spec(config.replacing(num_key_value_heads=heads))
    window = config.take("sliding_window", WINDOW, int, null=None)  # null is no window (v0.3)
    return evolve(base, attention=evolve(base.attention, sliding_window=window))


MISTRAL = evolve(llama.LLAMA, name="mistral", architectures=("MistralForCausalLM",), spec=spec)


@hookimpl
def ttfamily_families() -> tuple[Family, ...]:
    """Provide the Mistral family."""
    return (MISTRAL,)
