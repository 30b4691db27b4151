"""The Llama family reads every published Llama config, in every form, and takes every tensor."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import torch
from transformers import LlamaConfig

from ttfamily.core.config.hf_config import HfConfig
from ttfamily.core.config.spec import AttentionSpec, Llama3Scaling, MlpSpec, ModelSpec, NormSpec, RopeSpec
from ttfamily.core.weights.checkpoint import Checkpoint
from ttfamily.core.weights.weights import Weights
from ttfamily.errors import ConfigError
from ttfamily.plugins.llama import LLAMA, ttfamily_families

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LLAMA_2_7B = {
    "_name_or_path": "meta-llama/Llama-2-7b-hf",
    "architectures": ["LlamaForCausalLM"],
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 11008,
    "max_position_embeddings": 4096,
    "model_type": "llama",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 32,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
    "transformers_version": "4.31.0.dev0",
    "use_cache": True,
    "vocab_size": 32000,
}
LLAMA_3_8B = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 128000,
    "eos_token_id": 128001,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 14336,
    "max_position_embeddings": 8192,
    "model_type": "llama",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 500000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.40.0.dev0",
    "use_cache": True,
    "vocab_size": 128256,
}
LLAMA_31_8B = LLAMA_3_8B | {
    "max_position_embeddings": 131072,
    "mlp_bias": False,
    "rope_scaling": {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    },
    "transformers_version": "4.43.0.dev0",
}
LLAMA_32_1B = LLAMA_31_8B | {
    "head_dim": 64,
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "rope_scaling": LLAMA_31_8B["rope_scaling"] | {"factor": 32.0},
    "tie_word_embeddings": True,
    "transformers_version": "4.45.0.dev0",
}
LLAMA_32_3B = LLAMA_32_1B | {
    "head_dim": 128,
    "hidden_size": 3072,
    "num_attention_heads": 24,
    "num_hidden_layers": 28,
}


def model(
    *,
    vocab: int = 128256,
    width: int,
    layers: int,
    context: int,
    heads: int,
    kv_heads: int = 8,
    head_dim: int = 128,
    inner: int,
    theta: float = 5e5,
    factor: float | None = None,
    tied: bool = False,
) -> ModelSpec:
    """Write down a Llama by its published numbers."""
    scaling = factor and Llama3Scaling(
        factor=factor,
        low_freq_factor=1.0,
        high_freq_factor=4.0,
        original_max_position_embeddings=8192,
    )
    return ModelSpec(
        vocab_size=vocab,
        hidden_size=width,
        num_hidden_layers=layers,
        max_position_embeddings=context,
        tie_word_embeddings=tied,
        norm=NormSpec(kind="rms", eps=1e-5),
        rope=RopeSpec(theta=theta, rotary_dim=head_dim, scaling=scaling),
        attention=AttentionSpec(
            num_attention_heads=heads,
            num_key_value_heads=kv_heads,
            head_dim=head_dim,
            qkv_bias=False,
            out_bias=False,
            scale=head_dim**-0.5,
        ),
        mlp=MlpSpec(kind="gated", intermediate_size=inner, activation="silu", bias=False),
    )


# config, what its spec must be, and the parameters of the published checkpoint
PUBLISHED = {
    "Llama-2-7B": (
        LLAMA_2_7B,
        model(vocab=32000, width=4096, layers=32, context=4096, heads=32, kv_heads=32, inner=11008, theta=1e4),
        6_738_415_616,
    ),
    "Llama-3-8B": (
        LLAMA_3_8B,
        model(width=4096, layers=32, context=8192, heads=32, inner=14336),
        8_030_261_248,
    ),
    "Llama-3.1-8B": (
        LLAMA_31_8B,
        model(width=4096, layers=32, context=131072, heads=32, inner=14336, factor=8.0),
        8_030_261_248,
    ),
    "Llama-3.2-1B": (
        LLAMA_32_1B,
        model(width=2048, layers=16, context=131072, heads=32, head_dim=64, inner=8192, factor=32.0, tied=True),
        1_235_814_400,
    ),
    "Llama-3.2-3B": (
        LLAMA_32_3B,
        model(width=3072, layers=28, context=131072, heads=24, inner=8192, factor=32.0, tied=True),
        3_212_749_824,
    ),
}
each_published = pytest.mark.parametrize(("raw", "expected", "parameters"), PUBLISHED.values(), ids=PUBLISHED)


def spec_of(raw: Any) -> ModelSpec:
    """Read a config as load() does: the spec, then the check that nothing was overlooked."""
    config = HfConfig.of(raw)
    spec = LLAMA.spec(config)
    config.finish()
    return spec


def in_new_form(raw: dict[str, Any]) -> dict[str, Any]:
    """Rewrite a config as transformers 5 writes it."""
    theta, scaling = raw.get("rope_theta", 10000.0), raw["rope_scaling"]
    new = {key: value for key, value in raw.items() if key not in ("rope_theta", "rope_scaling", "torch_dtype")}
    parameters = {"rope_theta": theta, **(scaling or {"rope_type": "default"})}
    return new | {"dtype": raw["torch_dtype"], "rope_parameters": parameters, "transformers_version": "5.23.0"}


def refused(*parts: str) -> Any:
    return pytest.raises(ConfigError, match=".*".join(map(re.escape, parts)))


# --- published configs


@each_published
def test_a_published_config_gives_its_published_numbers(raw: dict[str, Any], expected: Any, parameters: int) -> None:
    assert HfConfig.of(raw).architecture in LLAMA.architectures
    assert spec_of(raw) == expected


@each_published
def test_the_form_of_transformers_5_gives_the_same(raw: dict[str, Any], expected: Any, parameters: int) -> None:
    assert spec_of(in_new_form(raw)) == expected


@each_published
@pytest.mark.parametrize("form", [dict, in_new_form])
def test_what_transformers_makes_of_a_config_is_accepted_whole(
    raw: dict[str, Any],
    expected: Any,
    parameters: int,
    form: Callable[[dict[str, Any]], dict[str, Any]],
    tmp_path: Path,
) -> None:
    config = LlamaConfig(**form(raw))
    assert spec_of(config.to_dict()) == expected
    assert spec_of(config) == expected
    config.save_pretrained(tmp_path)
    saved = HfConfig.from_folder(tmp_path)
    assert LLAMA.spec(saved) == expected
    saved.finish()


def test_every_default_of_transformers_is_accepted() -> None:
    spec = spec_of(LlamaConfig())
    assert (spec.vocab_size, spec.hidden_size, spec.attention.head_dim) == (32000, 4096, 128)


def test_what_transformers_4_wrote_out_in_full_is_accepted() -> None:
    keys = {
        "return_dict": True, "output_hidden_states": False, "output_attentions": False, "torchscript": False,
        "use_bfloat16": False, "tf_legacy_loss": False, "pruned_heads": {}, "chunk_size_feed_forward": 0,
        "is_encoder_decoder": False, "is_decoder": False, "cross_attention_hidden_size": None,
        "add_cross_attention": False, "tie_encoder_decoder": False, "max_length": 20, "min_length": 0,
        "do_sample": False, "early_stopping": False, "num_beams": 1, "num_beam_groups": 1, "diversity_penalty": 0.0,
        "temperature": 1.0, "top_k": 50, "top_p": 1.0, "typical_p": 1.0, "repetition_penalty": 1.0,
        "length_penalty": 1.0, "no_repeat_ngram_size": 0, "encoder_no_repeat_ngram_size": 0, "bad_words_ids": None,
        "num_return_sequences": 1, "output_scores": False, "return_dict_in_generate": False,
        "forced_bos_token_id": None, "forced_eos_token_id": None, "remove_invalid_values": False,
        "exponential_decay_length_penalty": None, "suppress_tokens": None, "begin_suppress_tokens": None,
        "finetuning_task": None, "id2label": {"0": "LABEL_0", "1": "LABEL_1"}, "label2id": {"LABEL_0": 0, "LABEL_1": 1},
        "tokenizer_class": None, "prefix": None, "pad_token_id": None, "sep_token_id": None,
        "decoder_start_token_id": None, "task_specific_params": None, "problem_type": None,
        "_attn_implementation_autoset": False,
    }  # fmt: skip
    assert spec_of(keys | LLAMA_31_8B) == PUBLISHED["Llama-3.1-8B"][1]


def test_the_extra_keys_of_smollm2_are_accepted() -> None:
    extra = {"is_llama_config": True, "rope_interleaved": False, "transformers.js_config": {"kv_cache_dtype": "fp16"}}
    assert spec_of(LLAMA_3_8B | extra) == PUBLISHED["Llama-3-8B"][1]


# --- switches


@pytest.mark.parametrize("absent", [{}, {"num_key_value_heads": None}])
def test_absent_key_value_heads_mean_one_a_query_head(absent: dict[str, Any]) -> None:
    raw = {key: value for key, value in LLAMA_3_8B.items() if key != "num_key_value_heads"} | absent
    assert spec_of(raw).attention.num_key_value_heads == LlamaConfig(**raw).num_key_value_heads == 32


@pytest.mark.parametrize("head_dim", [None, 64, 96, 256])
def test_a_head_has_the_size_it_is_given_or_its_share_of_the_hidden_size(head_dim: int | None) -> None:
    raw = LLAMA_3_8B | {"head_dim": head_dim}
    spec = spec_of(raw)
    assert spec.attention.head_dim == spec.rope.rotary_dim == LlamaConfig(**raw).head_dim
    assert spec.attention.scale == pytest.approx(LlamaConfig(**raw).head_dim ** -0.5)


@pytest.mark.parametrize(
    ("key", "value", "where"),
    [
        ("vocab_size", 128264, "vocab_size"),
        ("hidden_size", 8192, "hidden_size"),
        ("num_hidden_layers", 80, "num_hidden_layers"),
        ("max_position_embeddings", 2048, "max_position_embeddings"),
        ("tie_word_embeddings", True, "tie_word_embeddings"),
        ("rms_norm_eps", 1e-6, "norm"),
        ("rope_theta", 1e6, "rope"),
        ("rope_scaling", {"type": "linear", "factor": 2.0}, "rope"),
        ("num_attention_heads", 64, "attention"),
        ("num_key_value_heads", 4, "attention"),
        ("head_dim", 64, "attention"),
        ("attention_bias", True, "attention"),
        ("intermediate_size", 28672, "mlp"),
        ("hidden_act", "gelu", "mlp"),
        ("mlp_bias", True, "mlp"),
    ],
)
def test_every_key_of_the_graph_reaches_the_spec(key: str, value: Any, where: str) -> None:
    before, after = spec_of(LLAMA_3_8B), spec_of(LLAMA_3_8B | {key: value})
    assert getattr(after, where) != getattr(before, where)


def test_attention_bias_is_on_all_four_projections_as_in_transformers() -> None:
    attention = spec_of(LLAMA_3_8B | {"attention_bias": True}).attention
    assert (attention.qkv_bias, attention.out_bias) == (True, True)


# --- what cannot be run


@pytest.mark.parametrize(
    "key",
    [
        "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
        "max_position_embeddings", "rms_norm_eps",
    ],
)  # fmt: skip
def test_a_missing_number_is_never_guessed(key: str) -> None:
    with refused(f"{key} in config", "no such key"):
        spec_of({k: v for k, v in LLAMA_3_8B.items() if k != key})


@pytest.mark.parametrize(("key", "value"), [("sliding_window", 4096), ("qk_norm", True), ("attn_logit_softcap", 50.0)])
def test_a_key_that_would_change_the_graph_is_refused_by_name(key: str, value: Any) -> None:
    with refused("not understood", f"{key}={value!r}"):
        spec_of(LLAMA_3_8B | {key: value})


def test_a_partly_rotated_head_is_refused_because_transformers_llama_has_none() -> None:
    with refused("partial_rotary_factor", "64 rotated dimensions of 128"):
        spec_of(LLAMA_3_8B | {"partial_rotary_factor": 0.5})


@pytest.mark.parametrize("heads", [0, 31])
def test_heads_that_do_not_divide_the_hidden_size_are_refused_where_head_dim_is_not_given(heads: int) -> None:
    with refused("num_attention_heads", str(heads), "4096"):
        spec_of(LLAMA_2_7B | {"num_attention_heads": heads, "num_key_value_heads": None})


def test_key_value_heads_that_do_not_divide_the_heads_are_refused() -> None:
    with refused("AttentionSpec.num_key_value_heads", "5"):
        spec_of(LLAMA_3_8B | {"num_key_value_heads": 5})


# --- weights


def take_all(weights: Weights, spec: ModelSpec) -> int:
    """Take every slot of a gated decoder, in the shapes that the spec implies; return the parameters taken."""
    attention, mlp, width = spec.attention, spec.mlp, spec.hidden_size
    rows = attention.num_attention_heads * attention.head_dim
    kv_rows = attention.num_key_value_heads * attention.head_dim
    taken = [
        weights.take("embedding", ((spec.vocab_size, width),)),
        weights.take("norm", ((width,),)),
    ]
    for layer in range(spec.num_hidden_layers):
        taken += [
            weights.take("layer.attention_norm", ((width,),), layer),
            weights.take(
                "layer.attention.qkv",
                ((rows, width), (kv_rows, width), (kv_rows, width)),
                layer,
                bias=attention.qkv_bias,
            ),
            weights.take("layer.attention.out", ((width, rows),), layer, bias=attention.out_bias),
            weights.take("layer.mlp_norm", ((width,),), layer),
            weights.take("layer.mlp.gate_up", ((mlp.intermediate_size, width),) * 2, layer, bias=mlp.bias),
            weights.take("layer.mlp.down", ((width, mlp.intermediate_size),), layer, bias=mlp.bias),
        ]
    head = weights.take("lm_head", ((spec.vocab_size, width),))
    taken += [] if spec.tie_word_embeddings else [head]
    return sum(tensor.numel() for each in taken for tensor in (*each.weight, *(each.bias or ())))


@each_published
def test_the_table_takes_every_tensor_of_the_published_model_and_no_other(
    raw: dict[str, Any], expected: Any, parameters: int
) -> None:
    with Checkpoint.of_config(raw) as checkpoint:
        assert {checkpoint.tensor(name).dtype for name in checkpoint.names} == {getattr(torch, raw["torch_dtype"])}
        weights = Weights(checkpoint, LLAMA, expected)
        assert take_all(weights, expected) == parameters
        weights.finish()


@pytest.mark.parametrize("key", ["attention_bias", "mlp_bias", "tie_word_embeddings"])
def test_the_table_follows_the_switches(key: str) -> None:
    raw = LLAMA_32_1B | {"num_hidden_layers": 2, "tie_word_embeddings": False, key: True, "head_dim": 96}
    spec = spec_of(raw)
    with Checkpoint.of_config(raw) as checkpoint:
        weights = Weights(checkpoint, LLAMA, spec)
        take_all(weights, spec)
        weights.finish()


def test_the_projections_before_a_collective_are_cut_by_row_and_those_after_by_column() -> None:
    cuts = {slot: rule.cut for slot, rule in LLAMA.weights.items()}
    assert {slot for slot, cut in cuts.items() if cut == "row"} == {"layer.attention.out", "layer.mlp.down"}
    assert {slot for slot, cut in cuts.items() if cut == "column"} == {
        "layer.attention.qkv", "layer.mlp.gate_up", "lm_head",
    }  # fmt: skip
    # the same plan that transformers publishes for its own tensor parallelism
    for module, theirs in LlamaConfig.base_model_tp_plan.items():
        ours = [
            rule.cut for rule in LLAMA.weights.values() if f"model.{module.replace('*', '{layer}')}" in rule.modules
        ]
        assert ours == [{"colwise": "column", "rowwise": "row"}[theirs]]


def test_the_hook_provides_one_family_for_all_sizes() -> None:
    assert list(ttfamily_families()) == [LLAMA]
    assert attrs.evolve(LLAMA, name="variant").weights == LLAMA.weights
