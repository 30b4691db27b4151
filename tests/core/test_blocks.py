"""Every block computes what Hugging Face's own module computes in float32, in prefill and in decode."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import ttnn
from hypothesis import given
from transformers import LlamaConfig

from ttfamily.core.linear import WideLinear
from ttfamily.core.placement import integers
from ttfamily.core.rope import Rope
from ttfamily.testing import strategies
from ttfamily.testing.blocks import (
    BLOCK_PCC,
    Bench,
    HostCache,
    activations,
    compare_both_phases,
    put_decode,
    put_prefill,
    read_logits,
    read_rows,
)
from ttfamily.testing.models import Sequence, make_llama, save_checkpoint
from ttfamily.testing.pcc import assert_pcc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import LlamaForCausalLM

    from ttfamily.core.mesh import Mesh
    from ttfamily.testing.strategies import Batch

LAYER_PCC, CACHE_PCC = 0.998, 0.99
LONGEST = 512
CONFIGS = strategies.llama_configs()
# For blocks whose cost is in the hidden size alone: a model made in no time.
LIGHT_CONFIGS = strategies.llama_configs(most_weights=2**22)
USERS = strategies.mostly_small(1, 4, 32)


@contextmanager
def bench(config: LlamaConfig, seed: int, mesh: Mesh, users: int) -> Iterator[tuple[LlamaForCausalLM, Bench]]:
    """Make a model and lay it out on the mesh."""
    model = make_llama(config, seed)
    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(model, Path(folder))
        yield model, Bench(Path(folder), mesh, max_batch_size=users, max_seq_len=LONGEST + 32)


@strategies.examples(5)
@given(config=LIGHT_CONFIGS, seed=strategies.SEEDS, users=USERS, tokens=strategies.lengths(LONGEST))
def test_rms_norm(mesh: Mesh, config: LlamaConfig, seed: int, users: int, tokens: int) -> None:
    with bench(config, seed, mesh, users) as (model, on):
        compare_both_phases(on.plan, on.norm(), model.model.layers[0].input_layernorm, tokens, seed)


@strategies.examples(5)
@given(config=CONFIGS, seed=strategies.SEEDS, users=USERS, tokens=strategies.lengths(LONGEST))
def test_gated_mlp(mesh: Mesh, config: LlamaConfig, seed: int, users: int, tokens: int) -> None:
    with bench(config, seed, mesh, users) as (model, on):
        compare_both_phases(on.plan, on.mlp(), model.model.layers[0].mlp, tokens, seed)


@strategies.examples(5)
@given(config=LIGHT_CONFIGS, seed=strategies.SEEDS, users=USERS, tokens=strategies.lengths(LONGEST))
def test_an_embedding_is_exact(mesh: Mesh, config: LlamaConfig, seed: int, users: int, tokens: int) -> None:
    with bench(config, seed, mesh, users) as (model, on):
        embedding = on.embedding()
        prompt = strategies.random_tokens(config.vocab_size, on.plan.padded_length(0, tokens), seed)
        got = embedding.prefill(integers(mesh, prompt[None], ttnn.uint32))
        assert torch.equal(read_rows(got, len(prompt)), model.model.embed_tokens(prompt))
        step = strategies.random_tokens(config.vocab_size, on.plan.users, seed + 1)
        got = embedding.decode(integers(mesh, step[None], ttnn.uint32))
        assert torch.equal(read_rows(got, len(step)), model.model.embed_tokens(step))


@strategies.examples(5)
@given(config=LIGHT_CONFIGS, seed=strategies.SEEDS, users=USERS)
def test_lm_head(mesh: Mesh, config: LlamaConfig, seed: int, users: int) -> None:
    with bench(config, seed, mesh, users) as (model, on):
        x = activations(users, config.hidden_size, seed)
        got = on.lm_head().decode(put_decode(on.plan, x))
        assert_pcc(read_logits(got, users, config.vocab_size), model.lm_head(x), BLOCK_PCC)


def test_a_large_vocabulary_goes_through_in_parts(mesh: Mesh) -> None:
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=130_001, num_hidden_layers=1, max_position_embeddings=1024, **sizes)
    with bench(config, 0, mesh, 3) as (model, on):
        head = on.lm_head()
        assert isinstance(head.linear, WideLinear)
        x = activations(3, config.hidden_size, 0)
        got = read_logits(head.decode(put_decode(on.plan, x)), 3, config.vocab_size)
        assert_pcc(got, model.lm_head(x), BLOCK_PCC)


def check_with_cache(config: LlamaConfig, batch: Batch, seed: int, mesh: Mesh, name: str, least: float) -> None:
    """Prefill every slot, then decode all of them together, each at its own position; compare the cache too."""
    with bench(config, seed, mesh, len(batch.tokens)) as (model, on):
        plan = on.plan
        table = strategies.page_table(batch, pages=plan.pages, blocks=plan.num_blocks, seed=seed)
        block, rope = getattr(on, name)(), Rope(plan)
        cache = getattr(block, "attention", block).cache
        reference = {"attention": model.model.layers[0].self_attn, "layer": model.model.layers[0]}[name]
        wanted = {slot: Sequence(model) for slot in batch.slots}
        for slot in batch.slots:
            tokens = batch.tokens[slot]
            x = activations(tokens, config.hidden_size, seed + slot)
            got = block.prefill(put_prefill(plan, x), on.chunk(rope, table[slot], tokens))
            assert_pcc(read_rows(got, tokens), wanted[slot].through(reference, x), least)
        check_cache(HostCache(plan, cache), table, wanted)
        positions = torch.tensor([tokens or -1 for tokens in batch.tokens], dtype=torch.int32)
        x = activations(len(batch.tokens), config.hidden_size, seed - 1)
        got = read_rows(block.decode(put_decode(plan, x), on.step(rope, table, positions)), len(batch.tokens))
        for slot in batch.slots:
            assert_pcc(got[slot, None], wanted[slot].through(reference, x[slot, None]), least)
        check_cache(HostCache(plan, cache), table, wanted)


def check_cache(cache: HostCache, table: torch.Tensor, wanted: dict[int, Sequence]) -> None:
    for slot, sequence in wanted.items():
        keys, values = sequence.kept()
        got_keys, got_values = cache.of(table[slot], keys.shape[1])
        assert_pcc(got_keys, keys, CACHE_PCC)
        assert_pcc(got_values, values, CACHE_PCC)


@strategies.examples(6)
@given(config=CONFIGS, batch=strategies.batches(longest=LONGEST), seed=strategies.SEEDS)
def test_attention(mesh: Mesh, config: LlamaConfig, batch: Batch, seed: int) -> None:
    check_with_cache(config, batch, seed, mesh, "attention", BLOCK_PCC)


@strategies.examples(4)
@given(config=CONFIGS, batch=strategies.batches(longest=LONGEST), seed=strategies.SEEDS)
def test_decoder_layer(mesh: Mesh, config: LlamaConfig, batch: Batch, seed: int) -> None:
    check_with_cache(config, batch, seed, mesh, "layer", LAYER_PCC)
