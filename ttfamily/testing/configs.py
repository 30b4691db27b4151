"""Hypothesis strategies for Hugging Face configs: any decoder's, over the sizes that the core promises to run."""

from __future__ import annotations

import math
from inspect import signature
from typing import TYPE_CHECKING, Any, TypeAlias

from hypothesis import strategies as st

from ttfamily.testing.strategies import STEP, mostly_small, multiples

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from hypothesis.strategies import DrawFn, SearchStrategy
    from transformers import PretrainedConfig

MOST_WEIGHTS = 2**25  # elements of one layer: all sizes at their limit at once would take gigabytes
MODEL_LENGTHS = (384, 448, 1024)
ROPE_TYPES = ("default", "linear", "dynamic", "llama3")
# What can be excluded of every config: head_dim also where it is hidden size over heads, and a part of rope_parameters.
_ALWAYS_EXCLUDABLE = ("head_dim", "rope_type")

Excluded: TypeAlias = "Mapping[str, Collection[Any] | Callable[[Any], bool]]"
"""Config key -> the values that are not drawn, or a function that says of a value whether it is not."""


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


def rope_types(head_dim: int) -> tuple[str, ...]:
    """Return the types that a head of this width can have: dynamic scaling has no exponent for two dimensions."""
    return tuple(kind for kind in ROPE_TYPES if kind != "dynamic" or head_dim > 2)  # noqa: PLR2004


@st.composite
def ropes(draw: DrawFn, *, trained: int, kinds: tuple[str, ...] = ROPE_TYPES) -> dict[str, Any]:
    """``rope_parameters``, by default of every type that the core knows.

    :param trained: the length after which llama3 scaling begins.
    """
    kind = draw(st.sampled_from(kinds))
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
    excluded: Excluded | None = None,
    **keys: Any,
) -> PretrainedConfig:
    """Draw a config: of the keys that most decoders have, those that this class declares.

    An intermediate size and a vocabulary of any width; biases; a tied head; every rope type. Token ids that the
    class has by default and the vocabulary does not are the last of the vocabulary.

    :param most_weights: elements in one layer; limits which sizes are large together.
    :param trained: as for :func:`positions`.
    :param excluded: what is not drawn, also of ``rope_type`` and of a ``head_dim`` that follows from other keys.
    :param keys: more keys, or others in place of those: values, or strategies to draw them from.
    :raises AssertionError: if a key of ``excluded`` is none of the config's.
    """
    declared, ruled_out = declared_keys(config_class), excluded or {}
    unknown = sorted(ruled_out.keys() - declared - {*_ALWAYS_EXCLUDABLE})
    if unknown:
        raise AssertionError(f"excluded: {config_class.__name__} has no key {', '.join(unknown)}: name one that it has")
    sizes = draw(
        attentions(most_weights=most_weights, free_head_dim="head_dim" in declared).filter(
            lambda drawn: not any(is_excluded(ruled_out, key, value) for key, value in with_head_dim(drawn).items())
        )
    )
    kinds = tuple(
        kind for kind in rope_types(with_head_dim(sizes)["head_dim"]) if not is_excluded(ruled_out, "rope_type", kind)
    )
    rope = draw(ropes(trained=64, kinds=kinds))
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
    drawn = {key: draw_value(draw, without(ruled_out, key, value)) for key, value in chosen.items()}
    return config_class(**{**special_tokens(config_class, drawn.get("vocab_size")), **drawn})


def is_excluded(excluded: Excluded, key: str, value: Any) -> bool:
    """Whether a value of a config key is not to be drawn."""
    rule = excluded.get(key, ())
    return bool(rule(value)) if callable(rule) else value in rule


def without(excluded: Excluded, key: str, value: Any) -> Any:
    """Return a strategy that draws no excluded value; a value that is no strategy stays."""
    if key not in excluded or not isinstance(value, st.SearchStrategy):
        return value
    return value.filter(lambda drawn: not is_excluded(excluded, key, drawn))


def with_head_dim(sizes: Mapping[str, int]) -> dict[str, int]:
    """Return :func:`attentions` with the width of a head, where that follows from the others."""
    return {"head_dim": sizes["hidden_size"] // sizes["num_attention_heads"], **sizes}


def special_tokens(config_class: type[PretrainedConfig], vocab_size: int | None) -> dict[str, int]:
    """Return values for the token ids whose default is not in the vocabulary: its last token."""
    defaults = {key: parameter.default for key, parameter in signature(config_class).parameters.items()}
    return {
        key: vocab_size - 1
        for key, value in defaults.items()
        if key.endswith("_token_id") and isinstance(value, int) and vocab_size is not None and value >= vocab_size
    }


def draw_value(draw: DrawFn, value: Any) -> Any:
    """Return a value as it is, or a draw from a strategy."""
    return draw(value) if isinstance(value, st.SearchStrategy) else value


def declared_keys(config_class: type[PretrainedConfig]) -> frozenset[str]:
    """Return the config keys that a class names itself; any other would be kept and mean nothing."""
    return frozenset(signature(config_class).parameters)
