"""Whole models, loaded as a user loads them, against Hugging Face in float32.

These open a mesh of their own for every model, so they take no ``mesh`` fixture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig

from ttfamily.testing import strategies
from ttfamily.testing.models import Sequence, loaded, make_llama
from ttfamily.testing.pcc import assert_pcc

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

    from ttfamily.model import Model
    from ttfamily.testing.strategies import Batch

MODEL_PCC, SAME_PCC = 0.99, 0.9999
# The policy keeps gate and up in BFP4: three bits of mantissa, an error of some 5 % in every such weight.
PERFORMANCE_PCC = 0.97
STEPS = 32
LONGEST = 512
# load() goes no further than dynamic scaling's factor (1.5 at least) times the trained length.
CONFIGS = strategies.llama_configs(layers=2, dynamic_from=st.sampled_from([384, 448, 1024]), most_weights=2**22)
BATCHES = strategies.batches(users=5, longest=LONGEST, different=2)
MESHES = pytest.mark.parametrize("name", ["n150", "n300"])
SMALL = {
    "vocab_size": 203, "hidden_size": 128, "intermediate_size": 200, "num_attention_heads": 4, "num_key_value_heads": 2,
    "num_hidden_layers": 2, "max_position_embeddings": 4096,
}  # fmt: skip


def step_inputs(batch: Batch, tokens: torch.Tensor, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and positions ``[slots]`` of a teacher-forced step; tokens are ``[slots, steps]``."""
    held = torch.tensor(batch.tokens)
    return tokens[:, step], torch.where(held > 0, held + step, -1)


def forced(batch: Batch, vocab_size: int, steps: int, seed: int) -> torch.Tensor:
    return strategies.random_tokens(vocab_size, len(batch.tokens) * steps, seed).unflatten(0, (-1, steps))


def run(model: Model, batch: Batch, seed: int, steps: int) -> torch.Tensor:
    """Prefill a batch and decode it; returns logits ``[1 + steps, busy slots, vocab_size]``."""
    vocab = model.spec.vocab_size
    prompts = {slot: strategies.random_tokens(vocab, batch.tokens[slot], seed + slot) for slot in batch.slots}
    logits = [torch.stack([model.prefill(prompts[slot], slot) for slot in batch.slots])]
    tokens = forced(batch, vocab, steps, seed - 1)
    logits += [model.decode(*step_inputs(batch, tokens, step))[batch.slots] for step in range(steps)]
    return torch.stack(logits)


def expect(hf: LlamaForCausalLM, batch: Batch, seed: int, steps: int) -> torch.Tensor:
    """Return what Hugging Face has for the same tokens, one user at a time."""
    vocab = hf.config.vocab_size
    tokens = forced(batch, vocab, steps, seed - 1)
    wanted = []
    for slot in batch.slots:
        sequence = Sequence(hf)
        prompt = strategies.random_tokens(vocab, batch.tokens[slot], seed + slot)
        wanted.append(torch.stack([sequence.logits(part) for part in (prompt, *tokens[slot].split(1))]))
    return torch.stack(wanted, 1)


def compare(got: torch.Tensor, want: torch.Tensor, at_least: float) -> None:
    """Compare the logits of every user and every step on their own."""
    assert got.shape == want.shape
    for one, other in zip(got.flatten(0, 1), want.flatten(0, 1), strict=True):
        assert_pcc(one, other, at_least)


@MESHES
@strategies.examples(4)
@given(config=CONFIGS, batch=BATCHES, seed=strategies.SEEDS)
def test_logits_of_prefill_and_32_decode_steps(name: str, config: LlamaConfig, batch: Batch, seed: int) -> None:
    hf = make_llama(config, seed)
    with loaded(hf, name, max_batch_size=len(batch.tokens), max_seq_len=LONGEST + STEPS) as model:
        compare(run(model, batch, seed, STEPS), expect(hf, batch, seed, STEPS), MODEL_PCC)


@strategies.examples(3)
@given(config=CONFIGS, batch=BATCHES, seed=strategies.SEEDS)
def test_n150_equals_n300(config: LlamaConfig, batch: Batch, seed: int) -> None:
    hf = make_llama(config, seed)
    logits = []
    for name in ("n150", "n300"):
        with loaded(hf, name, max_batch_size=len(batch.tokens), max_seq_len=LONGEST + STEPS) as model:
            logits.append(run(model, batch, seed, 4))
    compare(*logits, SAME_PCC)


@MESHES
def test_32_users_each_at_its_own_position(name: str) -> None:
    hf = make_llama(LlamaConfig(**SMALL))
    batch = strategies.Batch(tokens=tuple(3 * slot + 1 for slot in range(32)))
    with loaded(hf, name, max_batch_size=32, max_seq_len=128) as model:
        compare(run(model, batch, 0, 3), expect(hf, batch, 0, 3), MODEL_PCC)


@MESHES
@pytest.mark.parametrize("head_dim", [32, 64])  # one scale that float32 holds exactly, one that it does not
def test_a_prompt_longer_than_one_chunk(name: str, head_dim: int) -> None:
    hf = make_llama(LlamaConfig(**{**SMALL, "num_hidden_layers": 1, "head_dim": head_dim}))
    batch = strategies.Batch(tokens=(0, 2101))
    with loaded(hf, name, max_batch_size=2, max_seq_len=4096) as model:
        assert model.plan.prefill_lengths[-1] < batch.tokens[1]
        compare(run(model, batch, 0, 3), expect(hf, batch, 0, 3), MODEL_PCC)


@MESHES
def test_dynamic_scaling_beyond_the_trained_length(name: str) -> None:
    rope = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
    hf = make_llama(LlamaConfig(**{**SMALL, "max_position_embeddings": 64, "rope_parameters": rope}))
    batch = strategies.Batch(tokens=(40, 61, 96))
    with loaded(hf, name, max_batch_size=3) as model:
        assert model.plan.max_seq_len == 96 + STEPS == 2 * 64
        compare(run(model, batch, 0, STEPS), expect(hf, batch, 0, STEPS), MODEL_PCC)


@MESHES
@pytest.mark.parametrize(("policy", "at_least"), [("accuracy", MODEL_PCC), ("performance", PERFORMANCE_PCC)])
def test_both_precision_policies(name: str, policy: str, at_least: float) -> None:
    hf = make_llama(LlamaConfig(**{**SMALL, "num_hidden_layers": 3}))
    batch = strategies.Batch(tokens=(17, 130))
    with loaded(hf, name, precision=policy, max_batch_size=2, max_seq_len=256) as model:
        compare(run(model, batch, 0, 8), expect(hf, batch, 0, 8), at_least)
