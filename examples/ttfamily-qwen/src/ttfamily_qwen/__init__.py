"""Qwen2: Llama with biases on query, key and value. Qwen3: Llama with a norm on every query and key head."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from ttfamily import ConfigError, NormSpec, hookimpl, replicated
from ttfamily.plugins import llama

if TYPE_CHECKING:
    from ttfamily import Family, HfConfig, ModelSpec

TTFAMILY_CONTRACT = 2
# transformers' defaults, for a config without the key
KEY_VALUE_HEADS = 32
QWEN3_HEAD_DIM = 128


def qwen2_spec(config: HfConfig) -> ModelSpec:
    """Read a ``Qwen2ForCausalLM`` config (transformers' ``Qwen2Config``)."""
    heads = config.take("num_key_value_heads", KEY_VALUE_HEADS, int, null=None)  # null: as many as query heads
    base = llama.spec(config.replacing(num_key_value_heads=heads))
    windows = sliding_windows(config, base.num_hidden_layers)
    return evolve(base, attention=evolve(base.attention, qkv_bias=True, sliding_window=windows))


def qwen3_spec(config: HfConfig) -> ModelSpec:
    """Read a ``Qwen3ForCausalLM`` config (transformers' ``Qwen3Config``)."""
    heads = config.take("num_key_value_heads", KEY_VALUE_HEADS, int, null=None)
    head_dim = config.take("head_dim", QWEN3_HEAD_DIM, int)
    base = llama.spec(config.replacing(num_key_value_heads=heads, head_dim=head_dim))
    windows = sliding_windows(config, base.num_hidden_layers)
    qk_norm = NormSpec(kind="rms", eps=base.norm.eps)
    return evolve(base, attention=evolve(base.attention, qk_norm=qk_norm, sliding_window=windows))


def sliding_windows(config: HfConfig, layers: int) -> tuple[int | None, ...]:
    """Return each layer's window: those from ``max_window_layers`` on slide, unless ``layer_types`` says which do.

    :raises ConfigError: for a type of layer that Qwen2 and Qwen3 do not have, or a list of another length.
    """
    slides = config.take("use_sliding_window", default=False, kind=bool)
    window = config.take("sliding_window", 4096, int, null=None)
    first = config.take("max_window_layers", 28, int)
    by_number = ["sliding_attention" if slides and i >= first else "full_attention" for i in range(layers)]
    types = config.take("layer_types", by_number, list, null=by_number)
    if len(types) != layers or not {"sliding_attention", "full_attention"}.issuperset(types):
        expected = f"sliding_attention or full_attention for each of the {layers} layers"
        raise ConfigError("layer_types", got=repr(types), expected=expected, fix="Correct config.json.")
    return tuple(window if slides and kind == "sliding_attention" else None for kind in types)


QWEN2 = evolve(llama.LLAMA, name="qwen2", architectures=("Qwen2ForCausalLM",), spec=qwen2_spec)
QWEN3 = evolve(
    llama.LLAMA,
    name="qwen3",
    architectures=("Qwen3ForCausalLM",),
    spec=qwen3_spec,
    weights={
        **llama.WEIGHTS,
        "layer.attention.q_norm": replicated("model.layers.{layer}.self_attn.q_norm"),
        "layer.attention.k_norm": replicated("model.layers.{layer}.self_attn.k_norm"),
    },
)


@hookimpl
def ttfamily_families() -> tuple[Family, ...]:
    """Provide Qwen2 and Qwen3."""
    return (QWEN2, QWEN3)
