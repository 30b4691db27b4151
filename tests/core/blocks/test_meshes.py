"""Whole models on meshes beyond n300, drawn with heads and vocabularies that do not divide, against Hugging Face."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
import ttnn
from hypothesis import given
from hypothesis import strategies as st
from transformers import FalconConfig, LlamaConfig, MistralConfig

from ttfamily.sim.session import observed
from ttfamily.testing import strategies
from ttfamily.testing.conformance.logits import MODEL_PCC, SAME_PCC, STEPS, compare, expect, run
from ttfamily.testing.models import loaded, make_model

if TYPE_CHECKING:
    from transformers import PretrainedConfig

MESHES = ("t3k", "2x4", "galaxy", "4x8", "t3k/dp2", "t3k/dp4", "galaxy/dp4")
FAMILIES = {"llama": LlamaConfig, "mistral": MistralConfig, "falcon-40b": FalconConfig}
# Query and key/value heads: fewer key/value heads than devices, heads that do not divide by 2, 4 or 8.
HEADS = ((8, 2), (32, 8), (8, 1), (28, 4), (71, 1), (12, 3), (6, 6))
BATCHES = strategies.batches(users=5, longest=100, different=2)


@st.composite
def configs(draw: st.DrawFn, family: str) -> PretrainedConfig:
    """Two layers, a hidden size that falls into four parts of whole tiles."""
    heads, key_value_heads = draw(st.sampled_from(HEADS))
    head_dim = 64 if family == "falcon-40b" else 32
    common: dict[str, Any] = {
        "vocab_size": draw(st.integers(33, 700)),
        "num_hidden_layers": 2,
        "max_position_embeddings": 256,
        "num_attention_heads": heads,
        "tie_word_embeddings": draw(st.booleans()),
    }
    if family == "falcon-40b":
        # Falcon's heads fill its hidden size.
        heads, key_value_heads = draw(st.sampled_from([(8, 2), (16, 1), (28, 4), (24, 3), (6, 6)]))
        common |= {"num_attention_heads": heads, "hidden_size": heads * head_dim, "num_kv_heads": key_value_heads}
        return FalconConfig(**common, new_decoder_architecture=True, bias=draw(st.booleans()))
    hidden = {28: 896, 71: 71 * 128, 12: 384, 6: 384}.get(heads, 256)
    more = {"attention_bias": draw(st.booleans()), "mlp_bias": draw(st.booleans())} if family == "llama" else {}
    if family == "mistral":
        more = {"sliding_window": draw(st.none() | st.integers(1, 60))}
    return FAMILIES[family](
        **common,
        hidden_size=hidden,
        head_dim=head_dim,
        num_key_value_heads=key_value_heads,
        intermediate_size=draw(st.integers(33, 700)),
        **more,
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", MESHES)
@strategies.examples(5)
@given(data=st.data(), batch=BATCHES, seed=strategies.SEEDS)
def test_logits_on_a_larger_mesh(
    name: str, family: str, data: st.DataObject, batch: strategies.Batch, seed: int
) -> None:
    hf = make_model(data.draw(configs(family)), seed)
    options = {"max_batch_size": len(batch.tokens), "max_seq_len": 160}
    with loaded(hf, name, warm_up=family == "llama", **options) as model:  # by a trace in one family of each mesh
        got = run(model, batch, seed, STEPS)
    compare(got, expect(hf, batch, seed, STEPS), MODEL_PCC)
    with loaded(hf, "n150", warm_up=False, **options) as model:
        compare(got[:5], run(model, batch, seed, 4), SAME_PCC)


@pytest.mark.parametrize("name", ["n300", "t3k", "t3k/dp2"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_fractured_stream_computes_the_same(name: str, family: str) -> None:
    sizes = {"vocab_size": 203, "hidden_size": 512, "num_hidden_layers": 2, "num_attention_heads": 8}
    more = {"new_decoder_architecture": True, "num_kv_heads": 2} if family == "falcon-40b" else {}
    hf = make_model(FAMILIES[family](**sizes, **more))
    batch = strategies.Batch(tokens=(31, 0, 90))
    with loaded(hf, name, max_batch_size=3, max_seq_len=128, scheme="fractured") as model:
        assert model.plan.decode.scheme == model.plan.prefill.scheme == "fractured"
        compare(run(model, batch, 0, 4), expect(hf, batch, 0, 4), MODEL_PCC)


def test_slots_are_spread_over_the_replicas() -> None:
    hf = make_model(LlamaConfig(vocab_size=203, hidden_size=128, intermediate_size=200, num_hidden_layers=1,
                                num_attention_heads=4, max_position_embeddings=128))  # fmt: skip
    batch = strategies.Batch(tokens=tuple(3 + slot % 50 for slot in range(64)))
    with loaded(hf, "n300/dp2", max_batch_size=64, max_seq_len=128) as model:
        assert model.plan.slots_per_replica == 32
        compare(run(model, batch, 0, 2), expect(hf, batch, 0, 2), MODEL_PCC)


@pytest.mark.parametrize("name", ["n300", "t3k", "galaxy"])
def test_collectives_are_told_the_links_and_the_topology_that_the_plan_counts(name: str) -> None:
    hf = make_model(LlamaConfig(vocab_size=203, hidden_size=512, intermediate_size=512, num_hidden_layers=1,
                                num_attention_heads=8, max_position_embeddings=64))  # fmt: skip
    seen = []

    def see(op: str, _args: object, kwargs: dict[str, Any], _out: object) -> None:
        if op.removeprefix("ttnn.") in ("all_reduce", "all_gather", "reduce_scatter"):
            seen.append((kwargs["cluster_axis"], kwargs["num_links"], kwargs["topology"]))

    with loaded(hf, name, max_batch_size=1, max_seq_len=64, warm_up=False) as model, observed(see):
        model.prefill([1, 2, 3], 0)
        model.decode([4], [3])
        axes = model.mesh.spec.axes
    assert seen
    kinds = {"ring": ttnn.Topology.Ring, "line": ttnn.Topology.Linear}
    assert all((links, topology) == (axes[axis].links, kinds[axes[axis].topology]) for axis, links, topology in seen)


def test_a_load_captures_the_decode_step_unless_it_is_told_not_to_warm_up() -> None:
    hf = make_model(LlamaConfig(vocab_size=203, hidden_size=128, intermediate_size=200, num_hidden_layers=1,
                                num_attention_heads=4, max_position_embeddings=64))  # fmt: skip
    logits = []
    for options in ({}, {"warm_up": False}):
        with loaded(hf, "n150", max_batch_size=1, max_seq_len=64, **options) as model:
            assert model.runner.graph.captured == (not options)
            model.prefill([1, 2, 3], 0)
            logits.append(model.decode([4], [3]))
    assert torch.equal(*logits)
