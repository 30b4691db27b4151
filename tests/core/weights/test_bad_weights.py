"""What wrong weights and wrong weight tables do: an error names the tensor, or the slot, or the transform."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

from ttfamily import width
from ttfamily.core.config.hf_config import HfConfig
from ttfamily.core.weights.checkpoint import SINGLE, Checkpoint
from ttfamily.core.weights.rules import column, replicated
from ttfamily.core.weights.sizes import check_sizes
from ttfamily.core.weights.values import LARGEST
from ttfamily.core.weights.weights import Weights
from ttfamily.errors import CheckpointError, PluginError
from ttfamily.plugins.falcon import FALCON
from ttfamily.plugins.llama import LLAMA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ttfamily.core.config.spec import ModelSpec
    from ttfamily.family import Family

    Open = Callable[..., Weights]

TINY = LlamaConfig(
    vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=64,
)  # fmt: skip
SPEC = LLAMA.spec(HfConfig.of(TINY))
TIED = attrs.evolve(SPEC, tie_word_embeddings=True)
EMBEDDING, HEAD, UP = "model.embed_tokens.weight", "lm_head.weight", "model.layers.1.mlp.up_proj.weight"
QKV = ((32, 32), (16, 32), (16, 32))


def refused(kind: Any, *parts: str) -> Any:
    return pytest.raises(kind, match=".*".join(map(re.escape, parts)))


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {name: torch.randn_like(tensor) for name, tensor in LlamaForCausalLM(TINY).state_dict().items()}


@pytest.fixture
def weights(tmp_path: Path, state: dict[str, torch.Tensor]) -> Iterator[Open]:
    opened = []

    def make(family: Family = LLAMA, spec: ModelSpec = SPEC, device: str = "cpu") -> Weights:
        save_file(state, tmp_path / SINGLE)
        opened.append(Checkpoint.open(tmp_path, device))
        return Weights(opened[-1], family, spec)

    yield make
    for checkpoint in opened:
        checkpoint.close()


def with_rule(slot: str, rule: Any) -> Family:
    return attrs.evolve(LLAMA, weights={**LLAMA.weights, slot: rule})


def take_up(weights: Weights) -> None:
    weights.take("layer.mlp.gate_up", ((48, 32),) * 2, 1)


# --- values


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 3.4e38, -3.4e38])
def test_one_value_that_no_device_format_holds_is_refused_by_the_tensors_name(
    weights: Open, state: dict[str, torch.Tensor], value: float
) -> None:
    state[UP][7, 5] = value
    with refused(CheckpointError, UP, "finite numbers") as caught:
        take_up(weights())
    assert caught.value.who == UP
    assert ("NaN" in caught.value.got) == (value != value)  # noqa: PLR0124 -- NaN differs from itself


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_every_finite_weight_is_taken_up_to_the_largest(
    weights: Open, state: dict[str, torch.Tensor], dtype: torch.dtype
) -> None:
    largest = min(LARGEST, torch.finfo(dtype).max)
    state[UP] = state[UP].to(dtype)
    state[UP][0, 0], state[UP][1, 1] = largest, -largest
    take_up(weights())


def test_what_overflows_only_in_the_devices_format_is_refused(weights: Open, state: dict[str, torch.Tensor]) -> None:
    state[UP] = state[UP].double()
    state[UP][3, 3] = 1e300
    with refused(CheckpointError, UP, "1e+300"):
        take_up(weights())


def test_a_bias_is_looked_at_too(weights: Open, state: dict[str, torch.Tensor]) -> None:
    state["model.layers.0.self_attn.o_proj.bias"] = torch.full((32,), float("nan"))
    with refused(CheckpointError, "o_proj.bias", "NaN"):
        weights().take("layer.attention.out", ((32, 32),), 0, bias=True)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int64, torch.bool, torch.float8_e4m3fn])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_what_are_no_weights_are_refused_by_their_type(
    weights: Open, state: dict[str, torch.Tensor], dtype: torch.dtype, device: str
) -> None:
    state[HEAD] = torch.zeros(96, 32).to(dtype)
    with refused(CheckpointError, HEAD, str(dtype).removeprefix("torch."), "quantization_config"):
        weights(device=device).take("lm_head", ((96, 32),))


def test_integers_that_no_slot_takes_are_none_of_our_business(weights: Open, state: dict[str, torch.Tensor]) -> None:
    state["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4, dtype=torch.int64)
    take_up(weights())


@pytest.mark.parametrize(("head", "got"), [
    (torch.full((96, 32), float("nan")), "NaN"),
    (torch.zeros(96, 32, dtype=torch.int8), "int8"),
    (torch.zeros(95, 32), "[95, 32]"),
])  # fmt: skip
def test_a_damaged_tied_head_is_not_told_to_be_untied(
    weights: Open, state: dict[str, torch.Tensor], head: torch.Tensor, got: str
) -> None:
    state[HEAD] = head
    with refused(CheckpointError, HEAD, got) as caught:
        weights(spec=TIED).take("lm_head", ((96, 32),))
    assert "tie_word_embeddings" not in str(caught.value)


def test_a_tied_head_in_another_dtype_with_the_same_values_is_fine(
    weights: Open, state: dict[str, torch.Tensor]
) -> None:
    state[EMBEDDING] = state[EMBEDDING].bfloat16()
    state[HEAD] = state[EMBEDDING].float()
    weights(spec=TIED).take("lm_head", ((96, 32),))


# --- transforms


def twelvefold(tensors: Any, _: ModelSpec) -> Any:
    return tuple(12 * tensor for tensor in tensors)


def halved(tensors: Any, _: ModelSpec) -> Any:
    return tuple(tensor / 2 for tensor in tensors)


@pytest.mark.parametrize(("transform", "factor"), [(None, 1), (halved, 0.5)])
def test_a_tied_head_takes_its_own_transform_and_not_the_embeddings(
    weights: Open, state: dict[str, torch.Tensor], transform: Any, factor: float
) -> None:
    del state[HEAD]
    table = {"embedding": width("model.embed_tokens", transform=twelvefold), "lm_head": column("lm_head")}
    table["lm_head"] = column("lm_head", transform=transform)
    taken = weights(attrs.evolve(LLAMA, weights={**LLAMA.weights, **table}), TIED)
    assert torch.equal(taken.take("embedding", ((96, 32),)).weight[0], 12 * state[EMBEDDING])
    assert torch.equal(taken.take("lm_head", ((96, 32),)).weight[0], factor * state[EMBEDDING])


def misshapen(tensors: Any, _: ModelSpec) -> Any:
    return tuple(tensor.T for tensor in tensors)


def failing(tensors: Any, _: ModelSpec) -> Any:
    return tensors[0].reshape(7, -1).split(2)


def misspelt(tensors: Any, _: ModelSpec) -> Any:
    return tensors.no_such_thing


def a_tensor(tensors: Any, _: ModelSpec) -> Any:
    return tensors[0]


def nothing(_: Any, __: ModelSpec) -> None:
    return None


def divided_by_zero(tensors: Any, _: ModelSpec) -> Any:
    return tuple(tensor / 0 for tensor in tensors)


@pytest.mark.parametrize("transform", [misshapen, failing, misspelt, a_tensor, nothing, divided_by_zero])
def test_a_wrong_transform_is_blamed_and_not_the_config(weights: Open, transform: Any) -> None:
    family = with_rule("layer.mlp.down", column("model.layers.{layer}.mlp.down_proj", transform=transform))
    with refused(PluginError, "family llama, slot layer.mlp.down, transform", transform.__name__) as caught:
        weights(family).take("layer.mlp.down", ((32, 48),), 1)
    assert "config.json" not in str(caught.value)


def test_a_wrong_tensor_is_not_blamed_on_the_transform(weights: Open, state: dict[str, torch.Tensor]) -> None:
    state["model.layers.1.mlp.down_proj.weight"] = torch.ones(32, 47)
    family = with_rule("layer.mlp.down", column("model.layers.{layer}.mlp.down_proj", transform=halved))
    with refused(CheckpointError, "part 0 of layer.mlp.down", "down_proj.weight", "[32, 47]", "config.json"):
        weights(family).take("layer.mlp.down", ((32, 48),), 1)


def test_nan_behind_a_transform_is_named_by_its_tensor(weights: Open, state: dict[str, torch.Tensor]) -> None:
    state[UP][0, 0] = float("nan")
    modules = LLAMA.weights["layer.mlp.gate_up"].modules
    with refused(CheckpointError, UP, "NaN") as caught:
        take_up(weights(with_rule("layer.mlp.gate_up", column(*modules, transform=halved))))
    assert caught.value.who == UP


# --- tables


def test_a_typo_in_a_module_path_names_slot_module_and_the_nearest_tensors(weights: Open) -> None:
    family = with_rule("layer.mlp.down", column("model.layers.{layer}.mlp.donw_proj"))
    with refused(
        CheckpointError, "slot layer.mlp.down", "no tensor model.layers.1.mlp.donw_proj.weight",
        "model.layers.1.mlp.down_proj.weight", "module path 'model.layers.{layer}.mlp.donw_proj'",
    ):  # fmt: skip
        weights(family).take("layer.mlp.down", ((32, 48),), 1)


def test_a_tensor_that_one_layer_lacks_is_blamed_on_the_download(weights: Open, state: dict[str, torch.Tensor]) -> None:
    del state[UP]
    with refused(CheckpointError, "slot layer.mlp.gate_up", UP, "Other layers have it", "download"):
        take_up(weights())


def test_a_bias_that_is_not_there_is_blamed_on_what_says_that_there_is_one(weights: Open) -> None:
    with refused(CheckpointError, "no tensor", "o_proj.bias", "says of biases"):
        weights().take("layer.attention.out", ((32, 32),), 0, bias=True)


def take_all(weights: Weights) -> None:
    weights.take("embedding", ((96, 32),))
    for layer in range(2):
        weights.take("layer.attention_norm", ((32,),), layer)
        weights.take("layer.attention.qkv", QKV, layer)
        weights.take("layer.attention.out", ((32, 32),), layer)
        weights.take("layer.mlp_norm", ((32,),), layer)
        weights.take("layer.mlp.gate_up", ((48, 32),) * 2, layer)
        weights.take("layer.mlp.down", ((32, 48),), layer)
    weights.take("norm", ((32,),))
    weights.take("lm_head", ((96, 32),))


def test_a_slot_that_no_block_asks_for_is_named(weights: Open, caplog: pytest.LogCaptureFixture) -> None:
    taken = weights(with_rule("layer.mlp.donw", column("model.layers.{layer}.mlp.other")))
    take_all(taken)
    with caplog.at_level(logging.WARNING, "ttfamily"):
        taken.finish()
    assert caplog.messages == [
        "family llama, slot layer.mlp.donw: no block asks for this slot; did you mean layer.mlp.down?"
    ]


def test_a_slot_of_the_core_that_this_spec_does_not_ask_for_passes(
    weights: Open, caplog: pytest.LogCaptureFixture
) -> None:
    taken = weights(with_rule("layer.attention.q_norm", replicated("model.layers.{layer}.self_attn.q_norm")))
    take_all(taken)
    with caplog.at_level(logging.WARNING, "ttfamily"):
        taken.finish()
    assert not caplog.messages


def test_left_over_tensors_of_such_a_slot_are_said_to_be_its(weights: Open, state: dict[str, torch.Tensor]) -> None:
    state["model.layers.0.self_attn.q_norm.weight"] = torch.ones(8)
    taken = weights(with_rule("layer.attention.q_norm", replicated("model.layers.{layer}.self_attn.q_norm")))
    take_all(taken)
    with refused(CheckpointError, "1 tensors", "q_norm.weight", "asks for no layer.attention.q_norm"):
        taken.finish()


# --- the cut of the width


@pytest.mark.parametrize("rule", [width, replicated])
def test_a_block_that_cuts_along_the_width_takes_either_cut(weights: Open, rule: Any) -> None:
    taken = weights(with_rule("norm", rule("model.norm")))
    assert taken.take("norm", ((32,),), cut="width").weight[0].shape == (32,)


def test_a_block_that_needs_a_tensor_whole_takes_no_width(weights: Open) -> None:
    with refused(PluginError, "slot norm", "'width'", "'replicated'"):
        weights(with_rule("norm", width("model.norm"))).take("norm", ((32,),), cut="replicated")


@pytest.mark.parametrize("family", [LLAMA, FALCON])
def test_the_built_in_tables_say_what_is_cut_as_the_stream_is(family: Family) -> None:
    cuts = {slot: rule.cut for slot, rule in family.rules(SPEC).items()}
    along = {slot for slot, cut in cuts.items() if cut == "width"}
    assert along == {slot for slot in cuts if slot == "embedding" or slot.endswith("norm")}


# --- sizes


def damaged(**sizes: Any) -> ModelSpec:
    return LLAMA.spec(HfConfig.of({**TINY.to_dict(), "head_dim": 8, **sizes}))


@pytest.mark.parametrize(("sizes", "parts"), [
    ({"vocab_size": 97}, (EMBEDDING, "[96, 32]", "[97, 32]")),
    ({"hidden_size": 131072}, (EMBEDDING, "[96, 32]", "[96, 131072]")),
    ({"num_hidden_layers": 1024}, ("num_hidden_layers", "1,024", "2, of which")),
    ({"num_hidden_layers": 1}, ("num_hidden_layers", "1", "2, of which")),
    ({"num_attention_heads": 1024}, ("num_attention_heads * head_dim", "8,192", "at most 48")),
    ({"intermediate_size": 2**20}, ("intermediate_size", "1,048,576", "at most 48")),
])  # fmt: skip
def test_a_size_that_the_checkpoint_has_not_is_found_in_its_headers(
    tmp_path: Path, state: dict[str, torch.Tensor], sizes: dict[str, int], parts: tuple[str, ...]
) -> None:
    save_file(state, tmp_path / SINGLE)
    with Checkpoint.open(tmp_path) as checkpoint:
        check_sizes(checkpoint, LLAMA, SPEC)
        with refused(CheckpointError, *parts, "config.json"):
            check_sizes(checkpoint, LLAMA, damaged(**sizes))


def test_layers_that_the_family_ignores_do_not_count(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    state["model.layers.2.mlp.up_proj.weight"] = torch.ones(48, 32)
    save_file(state, tmp_path / SINGLE)
    with Checkpoint.open(tmp_path) as checkpoint:
        check_sizes(checkpoint, attrs.evolve(LLAMA, ignored=("model.layers.2.*",)), SPEC)
        with refused(CheckpointError, "num_hidden_layers"):
            check_sizes(checkpoint, LLAMA, SPEC)
