"""Hypothesis strategies for Hugging Face configs: any decoder's, over the sizes that the core promises to run."""

from __future__ import annotations

import math
from inspect import signature
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from ttfamily.testing.strategies import STEP, mostly_small, multiples

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hypothesis.strategies import DrawFn, SearchStrategy
    from transformers import PretrainedConfig

MOST_WEIGHTS = 2**25  # elements of one layer: all sizes at their limit at once would take gigabytes
MODEL_LENGTHS = (384, 448, 1024)


@st.composite
def attentions(draw: DrawFn, *, most_weights: int, free_head_dim: bool) -> dict[str, int]:
    """1 to 64 heads, 1 to 32 key/value heads that divide them, head_dim up to 256, hidden size 64 to 4096.

    The heads divide the hidden size, since most of transformers' configs refuse any other, even with head_dim given.

    :param free_head_dim: whether the config can name a head_dim; else it is hidden size over heads.
    """
    heads = draw(mostly_small(1, 12, 64))
    key_value_heads = draw(st.sampled_from([n for n in range(1, min(heads, 32) + 1) if heads % n == 0]))
    step = math.lcm(STEP, heads if free_head_dim else 2 * heads)
    widest = 4096 if free_head_dim else min(4096, 256 * heads)
    hidden = step * draw(mostly_small(-(-64 // step), 512 // step, max(widest // step, -(-64 // step))))
    sizes = {"num_attention_heads": heads, "num_key_value_heads": key_value_heads, "hidden_size": hidden}
    if free_head_dim:
        # two projections a head, two a key/value head
        widest = min(256, most_weights // (2 * (heads + key_value_heads) * hidden))
        padded = mostly_small(2, 64, widest // 2).map(lambda half: 2 * half)  # rotated dimensions come in pairs
        sizes["head_dim"] = draw(multiples(32, 128, widest) | padded)
    return sizes


@st.composite
def ropes(draw: DrawFn, *, trained: int) -> dict[str, Any]:
    """``rope_parameters`` of every type that the core knows.

    :param trained: the length behind which llama3 scaling begins.
    """
    kind = draw(st.sampled_from(["default", "linear", "dynamic", "llama3"]))
    rope: dict[str, Any] = {"rope_type": kind, "rope_theta": draw(st.sampled_from([10000.0, 500000.0]))}
    if kind != "default":
        rope["factor"] = draw(st.sampled_from([1.5, 2.0, 8.0]))
    if kind == "llama3":
        rope |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": trained}
    return rope


def vocabularies() -> SearchStrategy[int]:
    """Sizes of a vocabulary, never a multiple of 32."""
    return mostly_small(33, 600, 5000).filter(lambda n: n % STEP)


@st.composite
def positions(draw: DrawFn, rope: Mapping[str, Any], *, trained: SearchStrategy[int] | None) -> int:
    """``max_position_embeddings``; with dynamic scaling short, so that prompts go beyond it.

    :param trained: the lengths then, 32 to 256 tokens if None.
    """
    if rope["rope_type"] != "dynamic":
        return 1024
    return draw(multiples(32, 256, 256) if trained is None else trained)


@st.composite
def decoder_configs(
    draw: DrawFn,
    /,
    config_class: type[PretrainedConfig],
    *,
    layers: int = 1,
    most_weights: int = MOST_WEIGHTS,
    trained: SearchStrategy[int] | None = None,
    **keys: Any,
) -> PretrainedConfig:
    """Draw a config: of the keys that most decoders have, those that this class declares.

    An intermediate size and a vocabulary of any width; biases; a tied head; every rope type.

    :param most_weights: elements in one layer; limits which sizes are large together.
    :param trained: as for :func:`positions`.
    :param keys: more keys, or others in place of those: values, or strategies to draw them from.
    """
    declared = declared_keys(config_class)
    sizes = draw(attentions(most_weights=most_weights, free_head_dim="head_dim" in declared))
    rope = draw(ropes(trained=64))
    widest = min(11008, most_weights // (3 * sizes["hidden_size"]))
    usual: dict[str, Any] = {
        **sizes,
        "vocab_size": vocabularies(),
        "intermediate_size": mostly_small(33, 1024, widest),
        "num_hidden_layers": layers,
        "max_position_embeddings": positions(rope, trained=trained),
        "rope_parameters": rope,
        "attention_bias": st.booleans(),
        "mlp_bias": st.booleans(),
        "tie_word_embeddings": st.booleans(),
        "hidden_act": st.sampled_from(["silu", "silu", "silu", "gelu", "gelu_pytorch_tanh", "relu"]),
        "rms_norm_eps": st.sampled_from([1e-5, 1e-6]),
    }
    chosen = {key: value for key, value in usual.items() if key in declared} | keys
    return config_class(**{key: draw_value(draw, value) for key, value in chosen.items()})


def draw_value(draw: DrawFn, value: Any) -> Any:
    """Return a value as it is, or a draw from a strategy."""
    return draw(value) if isinstance(value, st.SearchStrategy) else value


def declared_keys(config_class: type[PretrainedConfig]) -> frozenset[str]:
    """Return the config keys that a class names itself; any other would be kept and mean nothing."""
    return frozenset(signature(config_class).parameters)
