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
WINDOW = 4096  # transformers' default, for a config without the key; null is no window (v0.3)


def spec(config: HfConfig) -> ModelSpec:
    """Read a ``MistralForCausalLM`` config (transformers' ``MistralConfig``).

    :raises ConfigError: naming the key that is missing, of the wrong type or impossible.
    """
    base = llama.spec(config)
    window = config.take("sliding_window", None if "sliding_window" in config.raw else WINDOW, int)
    return evolve(base, attention=evolve(base.attention, sliding_window=window))


MISTRAL = evolve(llama.LLAMA, name="mistral", architectures=("MistralForCausalLM",), spec=spec)


@hookimpl
def ttfamily_families() -> tuple[Family, ...]:
    """Provide the Mistral family."""
    return (MISTRAL,)
