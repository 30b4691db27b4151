"""The angles are those of transformers' LlamaRotaryEmbedding, for every scaling and length."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import example, given, settings
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from ttfamily.core.config.rope_frequencies import depends_on_length, inverse_frequencies, prompt_table, rope_table
from ttfamily.core.config.spec import DynamicScaling, LinearScaling, Llama3Scaling, RopeSpec

FACTORS = st.floats(1.0, 64.0, width=32)
LLAMA_31 = RopeSpec(
    theta=500000.0,
    rotary_dim=128,
    scaling=Llama3Scaling(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8192),
)


def scalings(trained: int) -> st.SearchStrategy[Any]:
    """Draw a scaling of a model that was trained on ``trained`` tokens."""
    llama3 = st.tuples(FACTORS, st.floats(0.5, 4.0), st.floats(1.0, 8.0)).map(
        lambda f: Llama3Scaling(
            factor=f[0],
            low_freq_factor=f[1],
            high_freq_factor=f[1] + f[2],
            original_max_position_embeddings=trained,
        )
    )
    dynamic = FACTORS.map(lambda f: DynamicScaling(factor=f, original_max_position_embeddings=trained))
    return st.one_of(st.none(), FACTORS.map(lambda f: LinearScaling(factor=f)), llama3, dynamic)


@st.composite
def ropes(draw: st.DrawFn) -> tuple[RopeSpec, int]:
    """Draw a rotary embedding and the length its model was trained on."""
    trained = draw(st.integers(4, 64))
    return RopeSpec(
        theta=draw(st.floats(100.0, 1e7)),
        rotary_dim=2 * draw(st.integers(2, 64)),
        scaling=draw(scalings(trained)),
    ), trained


def theirs(rope: RopeSpec, trained: int) -> LlamaRotaryEmbedding:
    """Build the same embedding with transformers."""
    kind = {LinearScaling: "linear", DynamicScaling: "dynamic", Llama3Scaling: "llama3", type(None): "default"}
    parameters = {"rope_type": kind[type(rope.scaling)], "rope_theta": rope.theta}
    if rope.scaling is not None:
        parameters["factor"] = rope.scaling.factor
    if isinstance(rope.scaling, Llama3Scaling):
        parameters["low_freq_factor"] = rope.scaling.low_freq_factor
        parameters["high_freq_factor"] = rope.scaling.high_freq_factor
        parameters["original_max_position_embeddings"] = rope.scaling.original_max_position_embeddings
    config = LlamaConfig(
        head_dim=rope.rotary_dim,
        hidden_size=rope.rotary_dim,
        num_attention_heads=1,
        max_position_embeddings=trained,
        rope_parameters=parameters,
    )
    return LlamaRotaryEmbedding(config)


def their_table(rope: RopeSpec, trained: int, positions: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and sine of one forward pass over these positions, without the repeated half."""
    cos, sin = theirs(rope, trained)(torch.zeros(1), torch.tensor([positions]))
    half = rope.rotary_dim // 2
    return cos[0, :, :half], sin[0, :, :half]


def same(ours: torch.Tensor, expected: torch.Tensor) -> None:
    # A base in float32 is known to one part in 2**24, and a power of it to a few more.
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-4)


@given(ropes())
def test_frequencies_are_those_of_transformers(drawn: tuple[RopeSpec, int]) -> None:
    rope, trained = drawn
    expected = theirs(rope, trained).inv_freq
    ours = inverse_frequencies(rope)
    assert ours.shape == (rope.rotary_dim // 2,)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, expected, rtol=1e-6, atol=0)


@given(ropes(), st.integers(1, 160))
def test_a_prompt_is_rotated_as_transformers_rotates_a_prompt_of_its_length(
    drawn: tuple[RopeSpec, int], seq_len: int
) -> None:
    rope, trained = drawn
    cos, sin = their_table(rope, trained, list(range(seq_len)))
    ours = prompt_table(rope, seq_len)
    assert ours[0].shape == (seq_len, rope.rotary_dim // 2)
    same(ours[0], cos)
    same(ours[1], sin)


@settings(max_examples=25)
@given(ropes(), st.integers(1, 100))
def test_a_decode_step_is_rotated_as_transformers_rotates_a_step_at_its_position(
    drawn: tuple[RopeSpec, int], max_seq_len: int
) -> None:
    rope, trained = drawn
    ours = rope_table(rope, max_seq_len)
    assert ours[0].shape == (max_seq_len, rope.rotary_dim // 2)
    for position in {0, trained - 2, trained - 1, trained, max_seq_len - 1} & set(range(max_seq_len)):
        cos, sin = their_table(rope, trained, [position])
        same(ours[0][position : position + 1], cos)
        same(ours[1][position : position + 1], sin)


@given(ropes())
@example((LLAMA_31, 131072))
def test_only_a_scaling_that_depends_on_length_rotates_prompt_and_steps_differently(
    drawn: tuple[RopeSpec, int],
) -> None:
    rope, trained = drawn
    prompt, steps = prompt_table(rope, min(2 * trained, 256)), rope_table(rope, min(2 * trained, 256))
    if not depends_on_length(rope):
        assert torch.equal(prompt[0], steps[0])
        assert torch.equal(prompt[1], steps[1])
    elif rope.scaling.factor > 1.5:
        assert not torch.equal(prompt[1], steps[1])


def test_dynamic_scaling_leaves_the_trained_length_alone_and_moves_what_is_beyond() -> None:
    plain = RopeSpec(theta=10000.0, rotary_dim=64)
    scaling = DynamicScaling(factor=2.0, original_max_position_embeddings=64)
    rope = RopeSpec(theta=10000.0, rotary_dim=64, scaling=scaling)
    for seq_len in (None, 1, 64):
        assert torch.equal(inverse_frequencies(rope, seq_len), inverse_frequencies(plain))
    beyond = inverse_frequencies(rope, 65)
    assert beyond[0] == 1.0
    assert (beyond[1:] < inverse_frequencies(plain)[1:]).all()


def test_llama_31_keeps_its_short_waves_divides_its_long_ones_and_blends_between() -> None:
    plain = inverse_frequencies(RopeSpec(theta=500000.0, rotary_dim=128))
    ours, waves = inverse_frequencies(LLAMA_31), 2 * torch.pi / plain
    short, long = waves < 8192 / 4, waves > 8192 / 1
    assert torch.equal(ours[short], plain[short])
    assert torch.equal(ours[long], plain[long] / 8)
    between = ~short & ~long
    assert between.sum() > 3
    assert ((ours < plain) & (ours > plain / 8))[between].all()


@pytest.mark.parametrize("position", [8191, 131071])
def test_the_whole_context_of_llama_31_stays_with_transformers(position: int) -> None:
    cos, sin = their_table(LLAMA_31, 131072, [position])
    ours = rope_table(LLAMA_31, position + 1)
    # An angle of 1e5 radians has steps of 8e-3 in float32; the frequencies must agree to the last bit.
    torch.testing.assert_close(ours[0][-1:], cos, rtol=0, atol=1e-6)
    torch.testing.assert_close(ours[1][-1:], sin, rtol=0, atol=1e-6)
