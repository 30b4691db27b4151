"""Every key of a config is understood, known to be inert, or refused by name."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from transformers import LlamaConfig

from ttfamily.core.config.hf_config import INERT, HfConfig
from ttfamily.core.config.spec import DynamicScaling, LinearScaling, Llama3Scaling
from ttfamily.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

LLAMA3 = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
    "rope_type": "llama3",
}


def refused(match: str, *parts: str) -> Any:
    """Expect a ConfigError whose message holds all of these."""
    return pytest.raises(ConfigError, match=".*".join(map(re.escape, (match, *parts))))


# --- the file


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with refused("nowhere", "no such folder", "owner/model"):
        HfConfig.from_folder(tmp_path / "nowhere")


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").touch()
    with refused("model.gguf", "a file"):
        HfConfig.from_folder(tmp_path / "model.gguf")


def test_a_folder_without_a_config_is_named(tmp_path: Path) -> None:
    with refused(tmp_path.name, "no config.json"):
        HfConfig.from_folder(tmp_path)


@pytest.mark.parametrize("text", ["", '{"hidden_size": 64', "\x00", "[" * 100_000], ids=["empty", "cut", "nul", "deep"])
def test_broken_json_is_refused_with_the_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with refused("config.json", "broken JSON"):
        HfConfig.from_folder(tmp_path)


def test_bytes_that_are_no_text_are_refused_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b'{"a": "\xff\xfe"}')
    with refused("config.json", "broken JSON"):
        HfConfig.from_folder(tmp_path)


def test_json_that_is_no_object_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[1, 2]")
    with refused("config.json", "a JSON list", "a JSON object"):
        HfConfig.from_folder(tmp_path)


def test_a_folder_and_a_transformers_config_read_alike(tmp_path: Path) -> None:
    config = LlamaConfig(hidden_size=64, architectures=["LlamaForCausalLM"])
    config.save_pretrained(tmp_path)
    from_folder, from_object = HfConfig.from_folder(tmp_path), HfConfig.of(config)
    for read in (from_folder, from_object):
        assert read.architecture == "LlamaForCausalLM"
        assert read.take("hidden_size", kind=int) == 64
    assert "config.json" in from_folder.source


@pytest.mark.parametrize("raw", [{}, {"architectures": None}, {"architectures": []}, {"architectures": [7]}])
def test_a_config_without_an_architecture_says_so(raw: dict[str, Any]) -> None:
    with refused("architectures in config"):
        _ = HfConfig.of(raw).architecture


# --- single keys


def test_a_missing_required_key_is_named_with_its_source() -> None:
    with refused("hidden_size in the file", "no such key", "int"):
        HfConfig.of({}, source="the file").take("hidden_size", kind=int)


def test_null_is_no_default_unless_the_default_is_none_or_the_family_says_what_null_means() -> None:
    config = HfConfig.of({"key": None})
    assert config.take("key", None, int) is None
    assert config.take("key", 32, int, null=8) == 8
    for arguments in ({}, {"default": 32, "kind": int}, {"default": False, "kind": bool}):
        with refused("key in config", "null"):
            config.take("key", **arguments)


@pytest.mark.parametrize(
    ("value", "kind"),
    [("64", int), (64.0, int), (True, int), (True, float), ("1e-5", float), (1, bool), ("true", bool), ([1], dict)],
)
def test_a_value_of_another_type_is_refused(value: Any, kind: Any) -> None:
    with refused("key", repr(value), kind.__name__):
        HfConfig.of({"key": value}).take("key", kind=kind)


def test_an_integer_passes_for_a_float_and_becomes_one() -> None:
    value = HfConfig.of({"rope_theta": 10000}).take("rope_theta", kind=float)
    assert value == 10000.0
    assert type(value) is float


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("silu", "silu"),
        ("swish", "silu"),
        ("gelu", "gelu"),
        ("gelu_new", "gelu_tanh"),
        ("gelu_pytorch_tanh", "gelu_tanh"),
        ("relu", "relu"),
    ],
)
def test_activations_are_known_by_the_names_of_transformers_and_mean_the_same(theirs: str, ours: str) -> None:
    import torch
    from transformers.activations import ACT2FN

    functional = torch.nn.functional
    meaning = {
        "silu": functional.silu,
        "gelu": functional.gelu,
        "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
        "relu": functional.relu,
    }
    assert HfConfig.of({"hidden_act": theirs}).activation("hidden_act") == ours
    x = torch.linspace(-4, 4, 101)
    torch.testing.assert_close(meaning[ours](x), ACT2FN[theirs](x), atol=1e-6, rtol=1e-5)


def test_an_unknown_activation_lists_the_known_ones() -> None:
    with refused("hidden_act", "quick_gelu", "silu", "gelu_pytorch_tanh"):
        HfConfig.of({"hidden_act": "quick_gelu"}).activation("hidden_act")


# --- what is left over


def test_a_key_that_nobody_took_is_refused_by_name() -> None:
    config = HfConfig.of({"hidden_size": 64, "sliding_window": 4096, "logit_scale": 0.5})
    config.take("hidden_size")
    with refused("logit_scale=0.5", "sliding_window=4096") as caught:
        config.finish()
    assert "hidden_size" not in str(caught.value)


def test_a_key_with_a_zero_in_it_is_not_taken_for_switched_off() -> None:
    with refused("final_logit_softcapping=0"):
        HfConfig.of({"final_logit_softcapping": 0}).finish()


@pytest.mark.parametrize("off", [None, False, [], {}, ""])
def test_a_key_that_is_switched_off_is_fine(off: object) -> None:
    HfConfig.of({"pruned_heads": off}).finish()


def test_taking_a_key_with_a_default_is_understanding_it() -> None:
    config = HfConfig.of({"sliding_window": 4096})
    assert config.take("sliding_window", None) == 4096
    config.finish()


def test_no_key_that_shapes_a_llama_passes_for_inert() -> None:
    graph = {
        "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
        "num_key_value_heads", "hidden_act", "max_position_embeddings", "rms_norm_eps", "tie_word_embeddings",
        "rope_parameters", "rope_scaling", "rope_theta", "attention_bias", "mlp_bias", "head_dim", "sliding_window",
        "partial_rotary_factor", "is_encoder_decoder", "is_decoder", "add_cross_attention", "pruned_heads",
        "quantization_config", "auto_map", "layer_types",
    }  # fmt: skip
    assert not graph & INERT


def test_code_in_a_checkpoint_is_never_accepted() -> None:
    with refused("auto_map", "never run"):
        HfConfig.of({"auto_map": {"AutoModelForCausalLM": "modeling_evil.Evil"}}).finish()


def test_a_quantised_checkpoint_is_refused_with_what_to_do() -> None:
    with refused("quantization_config", "gptq", "unquantised"):
        HfConfig.of({"quantization_config": {"quant_method": "gptq"}}).finish()


def test_a_huge_value_does_not_flood_the_message() -> None:
    with refused("layer_map=") as caught:
        HfConfig.of({"layer_map": {str(i): i for i in range(10000)}}).finish()
    assert len(str(caught.value)) < 500


# --- rope


def both_forms(theta: float, scaling: Any) -> list[dict[str, Any]]:
    """Write one rotary embedding as transformers 4 and as transformers 5 did."""
    old_name = {("type" if key == "rope_type" else key): value for key, value in scaling.items()}
    return [
        {"rope_theta": theta, "rope_scaling": scaling or None},
        {"rope_theta": theta, "rope_scaling": old_name or None},
        {"rope_theta": theta, "rope_scaling": {**scaling, **old_name} or None},
        {"rope_parameters": {"rope_theta": theta, **(scaling or {"rope_type": "default"})}},
    ]


@pytest.mark.parametrize(
    ("scaling", "expected"),
    [
        ({}, None),
        ({"rope_type": "linear", "factor": 2.0}, LinearScaling(factor=2.0)),
        (
            {"rope_type": "dynamic", "factor": 4.0},
            DynamicScaling(factor=4.0, original_max_position_embeddings=131072),
        ),
        (
            LLAMA3,
            Llama3Scaling(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8192),
        ),
    ],
    ids=["default", "linear", "dynamic", "llama3"],
)
def test_every_form_of_a_rotary_embedding_reads_the_same(scaling: Any, expected: Any) -> None:
    for raw in both_forms(500000.0, scaling):
        config = HfConfig.of(raw)
        rope = config.rope(128, 131072)
        assert (rope.theta, rope.rotary_dim, rope.scaling) == (500000.0, 128, expected)
        config.finish()
        # and as transformers itself normalises it
        theirs = LlamaConfig(**raw, max_position_embeddings=131072, head_dim=128)
        assert HfConfig.of(theirs).rope(128, 131072) == rope


def test_a_config_without_rope_keys_means_the_base_of_llama_2() -> None:
    assert HfConfig.of({}).rope(128, 4096).theta == LlamaConfig().rope_parameters["rope_theta"]


def test_llama3_scaling_without_a_trained_length_takes_the_models() -> None:
    scaling = {key: value for key, value in LLAMA3.items() if key != "original_max_position_embeddings"}
    raw = {"rope_scaling": scaling, "rope_theta": 5e5, "max_position_embeddings": 16384}
    ours = HfConfig.of(raw).rope(128, 16384).scaling.original_max_position_embeddings
    assert ours == LlamaConfig(**raw).rope_parameters["original_max_position_embeddings"] == 16384


def test_a_trained_length_beside_the_scaling_is_read() -> None:
    raw = {"rope_scaling": {**LLAMA3, "original_max_position_embeddings": None}, "rope_theta": 5e5}
    config = HfConfig.of({**raw, "original_max_position_embeddings": 4096})
    assert config.rope(128, 131072).scaling.original_max_position_embeddings == 4096
    config.finish()


def test_part_of_a_head_is_rotated_where_the_config_says_so() -> None:
    for raw in ({"partial_rotary_factor": 0.25}, {"rope_parameters": {"partial_rotary_factor": 0.25}}):
        assert HfConfig.of(raw).rope(128, 2048).rotary_dim == 32


@pytest.mark.parametrize("kind", ["yarn", "longrope", "su", "mrope"])
def test_an_unknown_rope_type_lists_the_known_ones(kind: Any) -> None:
    for key in ("type", "rope_type"):
        with refused("rope_type", repr(kind), "default, linear, dynamic, llama3"):
            HfConfig.of({"rope_scaling": {key: kind, "factor": 2.0}}).rope(128, 4096)


def test_an_unknown_key_of_a_scaling_is_named() -> None:
    with refused("rope_scaling", "beta_fast"):
        HfConfig.of({"rope_scaling": {"type": "linear", "factor": 2.0, "beta_fast": 32}}).rope(128, 4096)


def test_a_rope_per_kind_of_layer_is_refused_by_the_name_of_the_kind() -> None:
    nested = {"full_attention": {"rope_type": "default", "rope_theta": 1e6}}
    with refused("rope_parameters", "full_attention"):
        HfConfig.of({"rope_parameters": nested}).rope(128, 4096)


@pytest.mark.parametrize("key", [key for key in LLAMA3 if key not in ("rope_type", "original_max_position_embeddings")])
def test_a_missing_key_of_a_scaling_is_named(key: str) -> None:
    scaling = {k: v for k, v in LLAMA3.items() if k != key}
    with refused("missing keys", key):
        HfConfig.of({"rope_scaling": scaling}).rope(128, 4096)


@pytest.mark.parametrize(
    "raw",
    [
        {"rope_scaling": {"type": "linear", "rope_type": "dynamic", "factor": 2.0}},
        {"rope_theta": 1e4, "rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}},
        {"rope_scaling": {"type": "linear", "factor": 2.0}, "rope_parameters": {"rope_type": "default"}},
        {"rope_scaling": LLAMA3, "original_max_position_embeddings": 4096},
        {"rope_scaling": {"type": "dynamic", "factor": 2.0, "original_max_position_embeddings": 2048}},
    ],
    ids=["type", "theta", "both forms", "trained length", "dynamic trained length"],
)
def test_two_places_that_disagree_about_rope_are_refused(raw: dict[str, Any]) -> None:
    with refused("while", "the same value twice"):
        HfConfig.of(raw).rope(128, 4096)


def test_two_places_that_agree_about_rope_are_fine() -> None:
    parameters = {"rope_theta": 5e5, **LLAMA3}
    raw = {"rope_theta": 5e5, "rope_scaling": LLAMA3, "rope_parameters": parameters}
    assert HfConfig.of(raw).rope(128, 131072) == HfConfig.of({"rope_parameters": parameters}).rope(128, 131072)


@pytest.mark.parametrize("raw", [{"rope_scaling": "linear"}, {"rope_parameters": [1]}])
def test_a_scaling_that_is_no_object_is_refused(raw: dict[str, Any]) -> None:
    with refused("rope_", "dict"):
        HfConfig.of(raw).rope(128, 4096)


@pytest.mark.parametrize("factor", ["8", 0.5, None, True])
def test_an_impossible_factor_is_refused(factor: object) -> None:
    with pytest.raises(ConfigError, match="factor"):
        HfConfig.of({"rope_scaling": {"type": "linear", "factor": factor}}).rope(128, 4096)


def test_the_message_of_an_error_can_be_read_back_from_its_parts() -> None:
    with pytest.raises(ConfigError) as caught:
        HfConfig.of({}).take("hidden_size")
    error = caught.value
    assert str(error) == f"{error.who}: got {error.got}; expected {error.expected}. {error.fix}"
    assert json.dumps([error.who, error.got, error.expected, error.fix])
