"""A spec holds only numbers that can be, and says which field cannot."""

from __future__ import annotations

import attrs
import pytest

from ttfamily.core.config.spec import (
    AttentionSpec,
    DynamicScaling,
    LinearScaling,
    Llama3Scaling,
    MlpSpec,
    ModelSpec,
    NormSpec,
    RopeSpec,
)
from ttfamily.errors import ConfigError

NORM = NormSpec(kind="rms", eps=1e-5)
ROPE = RopeSpec(theta=10000.0, rotary_dim=128)
LLAMA3 = Llama3Scaling(factor=8, low_freq_factor=1, high_freq_factor=4, original_max_position_embeddings=8192)
ATTENTION = AttentionSpec(
    num_attention_heads=32, num_key_value_heads=8, head_dim=128, qkv_bias=False, out_bias=False, scale=0.1
)
MLP = MlpSpec(kind="gated", intermediate_size=14336, activation="silu", bias=False)
MODEL = ModelSpec(
    vocab_size=128256,
    hidden_size=4096,
    num_hidden_layers=32,
    max_position_embeddings=8192,
    tie_word_embeddings=False,
    norm=NORM,
    rope=ROPE,
    attention=ATTENTION,
    mlp=MLP,
)


@pytest.mark.parametrize(
    ("value", "field", "wrong"),
    [
        (NORM, "kind", "batch"),
        (NORM, "eps", 0.0),
        (NORM, "eps", float("nan")),
        (NORM, "eps", "1e-5"),
        (NORM, "bias", 1),
        (NORM, "bias", True),
        (LinearScaling(factor=2), "factor", 0.5),
        (LinearScaling(factor=2), "factor", True),
        (DynamicScaling(factor=2, original_max_position_embeddings=64), "original_max_position_embeddings", 0),
        (DynamicScaling(factor=2, original_max_position_embeddings=64), "factor", float("inf")),
        (LLAMA3, "low_freq_factor", 0),
        (LLAMA3, "high_freq_factor", 1),
        (LLAMA3, "original_max_position_embeddings", 8192.0),
        (ROPE, "theta", -1.0),
        (ROPE, "rotary_dim", 127),
        (ROPE, "scaling", {"factor": 2.0}),
        (ATTENTION, "num_attention_heads", 0),
        (ATTENTION, "num_key_value_heads", 5),
        (ATTENTION, "num_key_value_heads", 64),
        (ATTENTION, "head_dim", None),
        (ATTENTION, "qkv_bias", None),
        (ATTENTION, "out_bias", 0),
        (ATTENTION, "scale", 0),
        (MLP, "kind", "moe"),
        (MLP, "intermediate_size", -1),
        (MLP, "activation", "swish"),
        (MLP, "bias", "no"),
        (MODEL, "vocab_size", True),
        (MODEL, "hidden_size", 4096.0),
        (MODEL, "num_hidden_layers", 0),
        (MODEL, "max_position_embeddings", None),
        (MODEL, "tie_word_embeddings", None),
        (MODEL, "norm", None),
        (MODEL, "rope", None),
        (MODEL, "attention", MLP),
        (MODEL, "mlp", ATTENTION),
    ],
)
def test_an_impossible_value_is_refused_by_the_name_of_its_field(
    value: attrs.AttrsInstance, field: str, wrong: object
) -> None:
    with pytest.raises(ConfigError) as caught:
        attrs.evolve(value, **{field: wrong})
    assert caught.value.who == f"{type(value).__name__}.{field}"
    assert repr(wrong) in caught.value.got
    assert caught.value.expected


@pytest.mark.parametrize("kv_heads", [1, 2, 4, 8, 16, 32])
def test_every_whole_grouping_of_heads_is_accepted(kv_heads: int) -> None:
    assert attrs.evolve(ATTENTION, num_key_value_heads=kv_heads).num_key_value_heads == kv_heads


def test_rotating_more_than_a_head_is_refused() -> None:
    with pytest.raises(ConfigError, match="128"):
        attrs.evolve(MODEL, attention=attrs.evolve(ATTENTION, head_dim=64))


def test_rotating_part_of_a_head_is_accepted() -> None:
    assert attrs.evolve(MODEL, rope=attrs.evolve(ROPE, rotary_dim=32)).rope.rotary_dim == 32


def test_dynamic_scaling_of_two_dimensions_is_refused_because_its_exponent_is_infinite() -> None:
    scaling = DynamicScaling(factor=2.0, original_max_position_embeddings=64)
    with pytest.raises(ConfigError, match="at least 4"):
        RopeSpec(theta=10000.0, rotary_dim=2, scaling=scaling)
    assert RopeSpec(theta=10000.0, rotary_dim=4, scaling=scaling).scaling is scaling


def test_a_layer_norm_may_have_a_bias() -> None:
    assert NormSpec(kind="layer", eps=1e-5, bias=True).bias


def test_specs_are_values_that_compare_hash_and_cannot_be_changed() -> None:
    assert attrs.evolve(MODEL) == MODEL
    assert hash(attrs.evolve(MODEL)) == hash(MODEL)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        MODEL.hidden_size = 1


@pytest.mark.parametrize(("scaling", "tokens"), [
    (None, 100),
    (LinearScaling(factor=4.0), 100),  # its max_position_embeddings has the factor in it
    (DynamicScaling(factor=2.5, original_max_position_embeddings=100), 250),
])  # fmt: skip
def test_dynamic_scaling_reaches_beyond_the_trained_length(
    scaling: LinearScaling | DynamicScaling | None, tokens: int
) -> None:
    rope = attrs.evolve(ROPE, scaling=scaling)
    assert attrs.evolve(MODEL, max_position_embeddings=100, rope=rope).longest_context == tokens
