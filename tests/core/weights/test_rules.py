"""Every slot gets the tensors its rule names, in the right shape, and nothing is left over unseen."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

from ttfamily.core.config.hf_config import HfConfig
from ttfamily.core.weights.checkpoint import SINGLE, Checkpoint
from ttfamily.core.weights.rules import WeightRule, column, replicated, row
from ttfamily.core.weights.weights import Weights
from ttfamily.errors import CheckpointError, PluginError
from ttfamily.plugins.llama import LLAMA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from ttfamily.core.config.spec import ModelSpec
    from ttfamily.family import Family

    State = dict[str, torch.Tensor]
    MakeWeights = Callable[..., Weights]

TINY = LlamaConfig(
    vocab_size=96,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=64,
    attention_bias=True,
    mlp_bias=True,
)
SPEC = LLAMA.spec(HfConfig.of(TINY))
TIED = attrs.evolve(SPEC, tie_word_embeddings=True)
DOWN = LLAMA.weights["layer.mlp.down"].modules
QKV = ((32, 32), (16, 32), (16, 32))


def refused(kind: Any, *parts: str) -> Any:
    return pytest.raises(kind, match=".*".join(map(re.escape, parts)))


@pytest.fixture
def state() -> State:
    torch.manual_seed(0)
    model = LlamaForCausalLM(TINY)
    return {name: torch.randn_like(tensor) for name, tensor in model.state_dict().items()}


@pytest.fixture
def weights(tmp_path: Path, state: State) -> Iterator[MakeWeights]:
    """Make Weights of ``state`` as it is when the test asks."""
    opened = []

    def make(family: Family = LLAMA, spec: ModelSpec = SPEC, device: str = "cpu") -> Weights:
        save_file(state, tmp_path / SINGLE)
        opened.append(Checkpoint.open(tmp_path, device))
        return Weights(opened[-1], family, spec)

    yield make
    for checkpoint in opened:
        checkpoint.close()


def take_all(weights: Weights, spec: ModelSpec = SPEC) -> None:
    """Take what the blocks of a Llama take."""
    hidden, wide, vocab = spec.hidden_size, spec.mlp.intermediate_size, spec.vocab_size
    weights.take("embedding", ((vocab, hidden),))
    for layer in range(spec.num_hidden_layers):
        weights.take("layer.attention_norm", ((hidden,),), layer)
        weights.take("layer.attention.qkv", QKV, layer, bias=spec.attention.qkv_bias)
        weights.take("layer.attention.out", ((hidden, 32),), layer, bias=spec.attention.out_bias)
        weights.take("layer.mlp_norm", ((hidden,),), layer)
        weights.take("layer.mlp.gate_up", ((wide, hidden),) * 2, layer, bias=spec.mlp.bias)
        weights.take("layer.mlp.down", ((hidden, wide),), layer, bias=spec.mlp.bias)
    weights.take("norm", ((hidden,),))
    weights.take("lm_head", ((vocab, hidden),))


def test_a_slot_gets_its_tensors_in_the_order_of_its_rule(weights: MakeWeights, state: State) -> None:
    taken = weights().take("layer.attention.qkv", QKV, 1, bias=True)
    for letter, weight, bias in zip("qkv", taken.weight, taken.bias, strict=True):
        assert torch.equal(weight, state[f"model.layers.1.self_attn.{letter}_proj.weight"])
        assert torch.equal(bias, state[f"model.layers.1.self_attn.{letter}_proj.bias"])


def test_a_slot_without_a_bias_reads_none(weights: MakeWeights) -> None:
    assert weights().take("layer.attention.qkv", QKV, 0).bias is None


def test_a_whole_model_is_taken_and_nothing_is_left(weights: MakeWeights) -> None:
    for device in ("cpu", "meta"):
        taken = weights(device=device)
        assert taken.host_device == device
        take_all(taken)
        taken.finish()


def test_a_tensor_that_nothing_took_is_listed(weights: MakeWeights, state: State) -> None:
    state["model.layers.0.self_attn.q_norm.weight"] = torch.ones(8)
    taken = weights()
    take_all(taken)
    with refused(CheckpointError, "1 tensors", "model.layers.0.self_attn.q_norm.weight"):
        taken.finish()


def test_a_bias_that_the_config_does_not_know_is_listed(weights: MakeWeights) -> None:
    taken, spec = weights(), attrs.evolve(SPEC, mlp=attrs.evolve(SPEC.mlp, bias=False))
    take_all(taken, spec)
    with refused(CheckpointError, "6 tensors", "model.layers.0.mlp.down_proj.bias"):
        taken.finish()


def test_a_layer_too_many_is_listed_without_flooding_the_message(weights: MakeWeights) -> None:
    taken, spec = weights(), attrs.evolve(SPEC, num_hidden_layers=1)
    take_all(taken, spec)
    with refused(CheckpointError, "16 tensors", "and 8 more"):
        taken.finish()


def test_a_tensor_that_carries_no_weight_may_be_left(weights: MakeWeights, state: State) -> None:
    state["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
    taken = weights()
    take_all(taken)
    taken.finish()


def test_a_missing_tensor_is_named(weights: MakeWeights, state: State) -> None:
    del state["model.layers.1.mlp.up_proj.weight"]
    with refused(CheckpointError, "no tensor model.layers.1.mlp.up_proj.weight"):
        weights().take("layer.mlp.gate_up", ((48, 32),) * 2, 1)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_tensor_of_another_shape_is_named_with_both_shapes(weights: MakeWeights, state: State, device: str) -> None:
    name = "model.layers.0.self_attn.k_proj.weight"
    state[name] = torch.zeros(8, 32)
    with refused(CheckpointError, name, "[8, 32]", "[16, 32]") as caught:
        weights(device=device).take("layer.attention.qkv", QKV, 0)
    assert caught.value.who == name


def test_a_bias_of_another_shape_is_named_with_both_shapes(weights: MakeWeights, state: State) -> None:
    name = "model.layers.0.self_attn.v_proj.bias"
    state[name] = torch.zeros(32)
    with refused(CheckpointError, name, "[32]", "[16]"):
        weights().take("layer.attention.qkv", QKV, 0, bias=True)


# --- the tied head


def test_a_tied_head_is_the_embedding(weights: MakeWeights, state: State) -> None:
    del state["lm_head.weight"]
    taken = weights(spec=TIED)
    take_all(taken, TIED)
    assert torch.equal(taken.take("lm_head", ((96, 32),)).weight[0], state["model.embed_tokens.weight"])
    taken.finish()


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_tied_head_that_is_stored_once_more_is_fine(weights: MakeWeights, state: State, device: str) -> None:
    state["lm_head.weight"] = state["model.embed_tokens.weight"].clone()
    taken = weights(spec=TIED, device=device)
    take_all(taken, TIED)
    taken.finish()


def test_a_tied_head_with_values_of_its_own_is_refused(weights: MakeWeights) -> None:
    with refused(CheckpointError, "lm_head.weight", "differ from model.embed_tokens.weight", "tie_word_embeddings"):
        weights(spec=TIED).take("lm_head", ((96, 32),))


def test_a_tied_head_keeps_a_bias_of_its_own(weights: MakeWeights, state: State) -> None:
    del state["lm_head.weight"]
    state["lm_head.bias"] = torch.arange(96.0)
    taken = weights(spec=TIED).take("lm_head", ((96, 32),), bias=True)
    assert torch.equal(taken.weight[0], state["model.embed_tokens.weight"])
    assert torch.equal(taken.bias[0], state["lm_head.bias"])


def test_an_untied_head_that_is_missing_is_named(weights: MakeWeights, state: State) -> None:
    del state["lm_head.weight"]
    with refused(CheckpointError, "no tensor lm_head.weight"):
        weights().take("lm_head", ((96, 32),))


# --- transforms


def fused(tensors: tuple[torch.Tensor, ...], spec: ModelSpec) -> Sequence[torch.Tensor]:
    heads = spec.attention
    return tensors[0].split([heads.head_dim * n for n in (4, heads.num_key_value_heads, heads.num_key_value_heads)])


FUSED = attrs.evolve(
    LLAMA, weights={**LLAMA.weights, "layer.attention.qkv": column("layers.{layer}.qkv", transform=fused)}
)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_transform_makes_the_parts_of_weights_and_of_biases(weights: MakeWeights, state: State, device: str) -> None:
    for kind in ("weight", "bias"):
        parts = [state.pop(f"model.layers.1.self_attn.{letter}_proj.{kind}") for letter in "qkv"]
        state[f"layers.1.qkv.{kind}"] = torch.cat(parts)
    taken = weights(FUSED, device=device).take("layer.attention.qkv", QKV, 1, bias=True)
    assert [tuple(part.shape) for part in taken.weight] == list(QKV)
    assert [tuple(part.shape) for part in taken.bias] == [(32,), (16,), (16,)]
    if device == "cpu":
        assert torch.equal(torch.cat(taken.weight), state["layers.1.qkv.weight"])
        assert torch.equal(torch.cat(taken.bias), state["layers.1.qkv.bias"])


def test_a_transform_that_cannot_take_its_tensors_names_them_and_their_shapes(
    weights: MakeWeights, state: State
) -> None:
    state["layers.0.qkv.weight"] = torch.zeros(60, 32)
    with refused(CheckpointError, "layer.attention.qkv", "layers.0.qkv.weight [60, 32]"):
        weights(FUSED).take("layer.attention.qkv", QKV, 0)


def test_a_part_of_another_shape_after_a_transform_is_named_with_its_sources(
    weights: MakeWeights, state: State
) -> None:
    state["layers.0.qkv.weight"] = torch.zeros(64, 48)
    with refused(CheckpointError, "part 0 of layer.attention.qkv", "layers.0.qkv.weight", "[32, 48]", "[32, 32]"):
        weights(FUSED).take("layer.attention.qkv", QKV, 0)


# --- rules


def test_a_slot_without_a_rule_names_the_family_and_its_slots(weights: MakeWeights) -> None:
    with refused(PluginError, "family llama", "layer.mlp.up", "layer.mlp.gate_up"):
        weights().take("layer.mlp.up", ((48, 32),), 0)


def test_a_rule_with_too_few_modules_is_refused(weights: MakeWeights) -> None:
    rule = column("model.layers.{layer}.mlp.gate_proj")
    family = attrs.evolve(LLAMA, weights={**LLAMA.weights, "layer.mlp.gate_up": rule})
    with refused(PluginError, "1 tensors", "2 parts"):
        weights(family).take("layer.mlp.gate_up", ((48, 32),) * 2, 0)


@pytest.mark.parametrize(("slot", "layer"), [("norm", 0), ("layer.mlp_norm", None)])
def test_a_layer_number_where_there_is_none_is_refused(weights: MakeWeights, slot: str, layer: int | None) -> None:
    with refused(PluginError, f"slot {slot}", "{layer}"):
        weights().take(slot, ((32,),), layer)


@pytest.mark.parametrize(("make", "cut"), [(column, "column"), (row, "row"), (replicated, "replicated")])
def test_a_rule_knows_its_cut(make: Any, cut: str) -> None:
    rule = make("a", "b", transform=fused)
    assert (rule.modules, rule.cut, rule.transform) == (("a", "b"), cut, fused)


@pytest.mark.parametrize("modules", [(), ("",), ("lm_head.weight",), ("q_proj", "k_proj.bias"), (7,), ["a"], "lm_head"])
def test_a_rule_without_proper_module_paths_is_refused(modules: object) -> None:
    with refused(PluginError, "WeightRule.modules"):
        WeightRule(modules=modules, cut="row")


def test_an_unknown_cut_is_refused() -> None:
    with refused(PluginError, "WeightRule.cut", "diagonal", "column, row, replicated"):
        WeightRule(modules=("a",), cut="diagonal")


def test_a_rule_that_cuts_a_slot_another_way_than_its_block_is_refused(weights: MakeWeights) -> None:
    family = attrs.evolve(LLAMA, weights={**LLAMA.weights, "layer.mlp.down": column(*DOWN)})
    with refused(PluginError, "slot layer.mlp.down", "'column'", "'row'"):
        weights(family).take("layer.mlp.down", ((32, 48),), 0, cut="row")
