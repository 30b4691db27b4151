"""Whole models of particular shapes against Hugging Face in float32; the conformance kit draws the others.

These open a mesh of their own for every model, so they take no ``mesh`` fixture.
"""

from __future__ import annotations

import pytest
from transformers import FalconConfig, LlamaConfig, MistralConfig

from ttfamily.testing import strategies
from ttfamily.testing.conformance.logits import MODEL_PCC, STEPS, compare, expect, run
from ttfamily.testing.models import loaded, make_model

# The policy keeps gate and up in BFP4: three bits of mantissa, an error of some 5 % in every such weight.
PERFORMANCE_PCC = 0.97
MESHES = pytest.mark.parametrize("name", ["n150", "n300"])
SMALL = {
    "vocab_size": 203, "hidden_size": 128, "intermediate_size": 200, "num_attention_heads": 4, "num_key_value_heads": 2,
    "num_hidden_layers": 2, "max_position_embeddings": 4096,
}  # fmt: skip


@MESHES
def test_32_users_each_at_its_own_position(name: str) -> None:
    hf = make_model(LlamaConfig(**SMALL))
    batch = strategies.Batch(tokens=tuple(3 * slot + 1 for slot in range(32)))
    with loaded(hf, name, max_batch_size=32, max_seq_len=128) as model:
        compare(run(model, batch, 0, 3), expect(hf, batch, 0, 3), MODEL_PCC)


@MESHES
@pytest.mark.parametrize("head_dim", [32, 64])  # one scale that float32 holds exactly, one that it does not
def test_a_prompt_longer_than_one_chunk(name: str, head_dim: int) -> None:
    hf = make_model(LlamaConfig(**{**SMALL, "num_hidden_layers": 1, "head_dim": head_dim}))
    batch = strategies.Batch(tokens=(0, 2101))
    with loaded(hf, name, max_batch_size=2, max_seq_len=4096) as model:
        assert model.plan.prefill_lengths[-1] < batch.tokens[1]
        compare(run(model, batch, 0, 3), expect(hf, batch, 0, 3), MODEL_PCC)


@MESHES
def test_a_window_reaches_back_into_the_chunk_before(name: str) -> None:
    hf = make_model(MistralConfig(**{**SMALL, "num_hidden_layers": 1, "sliding_window": 90}))
    batch = strategies.Batch(tokens=(0, 2101))
    with loaded(hf, name, max_batch_size=2, max_seq_len=4096) as model:
        compare(run(model, batch, 0, 3), expect(hf, batch, 0, 3), MODEL_PCC)


@MESHES
def test_the_heads_of_falcon_7b(name: str) -> None:
    """71 query heads are more than a chip merges at once; one key/value head serves both halves of them."""
    hf = make_model(FalconConfig(vocab_size=203, hidden_size=4544, num_hidden_layers=1, num_attention_heads=71))
    batch = strategies.Batch(tokens=(31, 0, 150))
    with loaded(hf, name, max_batch_size=3, max_seq_len=256) as model:
        assert model.plan.heads.cached_per_device == 1
        assert model.plan.heads.query_per_group * model.plan.heads.groups * model.mesh.tensor_parallel == 72
        compare(run(model, batch, 0, 4), expect(hf, batch, 0, 4), MODEL_PCC)


@MESHES
def test_dynamic_scaling_beyond_the_trained_length(name: str) -> None:
    rope = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
    hf = make_model(LlamaConfig(**{**SMALL, "max_position_embeddings": 64, "rope_parameters": rope}))
    batch = strategies.Batch(tokens=(40, 61, 96))
    with loaded(hf, name, max_batch_size=3) as model:
        assert model.plan.max_seq_len == 96 + STEPS == 2 * 64
        compare(run(model, batch, 0, STEPS), expect(hf, batch, 0, STEPS), MODEL_PCC)


@MESHES
@pytest.mark.parametrize(("policy", "at_least"), [("accuracy", MODEL_PCC), ("performance", PERFORMANCE_PCC)])
def test_both_precision_policies(name: str, policy: str, at_least: float) -> None:
    hf = make_model(LlamaConfig(**{**SMALL, "num_hidden_layers": 3}))
    batch = strategies.Batch(tokens=(17, 130))
    with loaded(hf, name, precision=policy, max_batch_size=2, max_seq_len=256) as model:
        compare(run(model, batch, 0, 8), expect(hf, batch, 0, 8), at_least)
