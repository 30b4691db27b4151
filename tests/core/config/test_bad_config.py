"""What a damaged config.json does: it is refused by the name of the key, before anything is built."""

from __future__ import annotations

import json
import re
import time
from inspect import signature
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import torch
from transformers import AutoModelForCausalLM, FalconConfig, LlamaConfig, MistralConfig

from ttfamily.core.config import hf_config
from ttfamily.core.config.hf_config import HfConfig
from ttfamily.core.config.hf_keys import INERT
from ttfamily.core.config.spec import MOST_CONTEXT, MOST_LAYERS, MOST_TOKENS, DynamicScaling, RopeSpec
from ttfamily.errors import ConfigError
from ttfamily.plugins.falcon import FALCON
from ttfamily.plugins.llama import LLAMA
from ttfamily.plugins.mistral import MISTRAL

if TYPE_CHECKING:
    from pathlib import Path

    from ttfamily.core.config.spec import ModelSpec
    from ttfamily.family import Family

SIZES = {
    "vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4,
    "max_position_embeddings": 64,
}  # fmt: skip
LIKE_LLAMA = {**SIZES, "intermediate_size": 48, "num_key_value_heads": 2, "rms_norm_eps": 1e-5}
CLASSES: dict[str, tuple[Any, Family, dict[str, Any]]] = {
    "llama": (LlamaConfig, LLAMA, LIKE_LLAMA),
    "mistral": (MistralConfig, MISTRAL, LIKE_LLAMA),
    "falcon": (FalconConfig, FALCON, SIZES),
}
ROPE_KEYS = ("rope_theta", "rope_scaling", "partial_rotary_factor", "original_max_position_embeddings")
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}


def refused(*parts: str) -> Any:
    return pytest.raises(ConfigError, match=".*".join(map(re.escape, parts)))


def read(name: str = "llama", **keys: Any) -> ModelSpec:
    _, family, sizes = CLASSES[name]
    config = HfConfig.of({**sizes, **keys}, "config.json")
    spec = family.spec(config)
    config.finish()
    return spec


# --- null


def runs_in_transformers(config_class: Any, raw: dict[str, Any]) -> bool:
    try:
        model = AutoModelForCausalLM.from_config(config_class.from_dict(raw))
        return bool(model(torch.tensor([[1, 2, 3]])).logits.isfinite().all())
    except Exception:  # noqa: BLE001 -- transformers' own errors are of many classes
        return False


@pytest.mark.parametrize("name", CLASSES)
def test_null_is_taken_exactly_where_transformers_computes_with_it_what_absence_means(name: str) -> None:
    config_class, family, sizes = CLASSES[name]
    shaping = [key for key in signature(config_class).parameters if key not in INERT]
    differs = {"multi_query", "parallel_attn"}  # null is falsy to Falcon, whose default is true
    for key in (*shaping, *ROPE_KEYS):
        raw = {**sizes, key: None}
        theirs = runs_in_transformers(config_class, raw) and key not in differs
        ours, message = None, ""
        try:
            ours = read(name, **{key: None})
        except ConfigError as error:
            message = str(error)
        assert theirs == (ours is not None), (key, message)
        assert not message or key in message
        if ours and key not in ("num_key_value_heads", "sliding_window"):  # null is all heads, or no window
            assert ours == family.spec(HfConfig.of({k: v for k, v in raw.items() if k != key})), key


def test_nulls_that_published_configs_have_go_on_working() -> None:
    null = {"rope_scaling": None, "head_dim": None, "eos_token_id": None, "pad_token_id": None, "auto_map": None}
    assert read(**null, quantization_config=None, num_key_value_heads=None) == read(num_key_value_heads=4)
    assert read("mistral", **null, sliding_window=None).attention.sliding_window is None
    nothing = {"ffn_hidden_size": None, "num_kv_heads": None, "num_ln_in_parallel_attn": None}
    assert read("falcon", **nothing) == read("falcon")


def test_a_key_that_a_mistral_config_leaves_out_is_transformers_default() -> None:
    sizes = {**LIKE_LLAMA, "num_attention_heads": 16, "hidden_size": 128}
    del sizes["num_key_value_heads"]
    assert MISTRAL.spec(HfConfig.of(sizes)).attention.num_key_value_heads == MistralConfig().num_key_value_heads == 8


# --- types and numbers


@pytest.mark.parametrize(("name", "key", "value"), [
    ("llama", "rope_theta", False),
    ("llama", "rope_theta", 1e-300),
    ("llama", "rope_theta", "10000"),
    ("llama", "tie_word_embeddings", 1),
    ("llama", "hidden_act", []),
    ("llama", "sliding_window", ""),
    ("llama", "sliding_window", []),
    ("llama", "rms_norm_eps", float("nan")),
    ("mistral", "sliding_window", ""),
    ("mistral", "sliding_window", []),
    ("mistral", "sliding_window", 0),
    ("mistral", "sliding_window", 2**40),
    ("falcon", "layer_norm_epsilon", None),
    ("falcon", "multi_query", None),
    ("falcon", "activation", None),
])  # fmt: skip
def test_a_key_of_the_wrong_type_is_never_its_default(name: str, key: str, value: object) -> None:
    with refused(key):
        read(name, **{key: value})


@pytest.mark.parametrize("value", [False, None, 64.0, True, "64", 0, -1, 2**31])
def test_a_trained_length_of_the_wrong_type_is_never_the_models(value: object) -> None:
    with refused("original_max_position_embeddings in config.json"):
        read(rope_scaling=LLAMA3, original_max_position_embeddings=value)
    with refused("rope_scaling.original_max_position_embeddings in config.json"):
        read(rope_scaling={**LLAMA3, "original_max_position_embeddings": value})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 1e30, 1e308, 10**400, -1.0, 0.0])
@pytest.mark.parametrize("key", ["rope_theta", "factor", "low_freq_factor", "high_freq_factor"])
def test_a_rope_value_that_no_table_could_hold_is_refused_by_its_key(key: str, value: float) -> None:
    with refused(f"rope_scaling.{key} in config.json"):
        read(rope_scaling={"rope_theta": 1e4, **LLAMA3, "original_max_position_embeddings": 32, key: value})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0, -0.5, 1.5, 1e308, "half", None, False])
def test_a_partial_rotary_factor_that_is_no_part_is_refused(value: object) -> None:
    with refused("rope_parameters.partial_rotary_factor in config.json"):
        read(rope_parameters={"rope_type": "default", "partial_rotary_factor": value})


@pytest.mark.parametrize("name", CLASSES)
def test_a_part_of_a_head_is_refused_where_the_architecture_rotates_the_whole(name: str) -> None:
    with refused("partial_rotary_factor in config.json", "4 rotated dimensions of 8", "the whole head"):
        read(name, partial_rotary_factor=0.5)
    assert read(name, partial_rotary_factor=1.0) == read(name)


def test_transformers_falcon_does_not_read_partial_rotary_factor() -> None:
    """Why it is refused: half a head rotated is not what Hugging Face's Falcon computes."""
    torch.manual_seed(0)
    whole = AutoModelForCausalLM.from_config(FalconConfig(**SIZES)).eval()
    part = AutoModelForCausalLM.from_config(FalconConfig(**SIZES, partial_rotary_factor=0.5)).eval()
    part.load_state_dict(whole.state_dict())
    tokens = torch.arange(20)[None]
    assert torch.equal(whole(tokens).logits, part(tokens).logits)


@pytest.mark.parametrize("value", [0, -1, 10**5, 10**6, 10**9, 2**31, 2**63, 10**12, 10**30, 10**400])
@pytest.mark.parametrize("key", ["num_hidden_layers", "num_attention_heads"])
def test_an_absurd_count_is_refused_at_once(key: str, value: int) -> None:
    start = time.monotonic()
    for name in CLASSES:
        with refused(key):
            read(name, **{key: value})
    assert time.monotonic() - start < 1


@pytest.mark.parametrize("value", [0, -1, 10**9, 10**12, 2**63, 10**30])
@pytest.mark.parametrize("key", ["vocab_size", "hidden_size", "max_position_embeddings", "intermediate_size"])
def test_an_absurd_size_is_refused_by_name(key: str, value: int) -> None:
    with refused(key):
        read(**{key: value})


def test_a_dynamic_factor_cannot_make_a_context_that_no_memory_holds() -> None:
    for factor in (1e18, 1e6):
        with refused("factor"):
            read(rope_scaling={"type": "dynamic", "factor": factor})
    scaling = DynamicScaling(factor=4.0, original_max_position_embeddings=MOST_TOKENS // 4)
    rope = RopeSpec(theta=1e4, rotary_dim=8, scaling=scaling)
    assert attrs.evolve(read(), rope=rope, max_position_embeddings=1).longest_context == MOST_CONTEXT


def test_the_context_is_bounded_before_tables_of_all_positions_are_made() -> None:
    assert read(max_position_embeddings=10**7).longest_context == MOST_CONTEXT
    assert read(max_position_embeddings=MOST_CONTEXT).longest_context == MOST_CONTEXT
    with refused("max_position_embeddings", f"{MOST_TOKENS:,}"):
        read(max_position_embeddings=MOST_TOKENS + 1)


def test_the_largest_published_models_are_far_from_the_limits() -> None:
    large = {"vocab_size": 262_144, "hidden_size": 18_432, "num_hidden_layers": 126, "num_attention_heads": 144}
    spec = read(**{**large, "num_key_value_heads": 8, "intermediate_size": 73_728, "max_position_embeddings": 10**7})
    assert spec.num_hidden_layers * 4 < MOST_LAYERS


@pytest.mark.parametrize(("keys", "who"), [
    ({"rope_theta": 0.5}, "rope_theta in config.json"),
    ({"rope_parameters": {"rope_type": "linear", "factor": 0.5}}, "rope_parameters.factor in config.json"),
    ({"head_dim": 0}, "head_dim in config.json"),
    ({"head_dim": -8}, "head_dim in config.json"),
    ({"head_dim": 7}, "head_dim in config.json"),
    ({"head_dim": 10**9}, "head_dim in config.json"),
])  # fmt: skip
def test_an_error_names_the_key_of_the_config_and_not_a_field_of_ours(keys: dict[str, Any], who: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(**keys)
    assert caught.value.who == who
    assert "Spec" not in str(caught.value)


# --- the file


def write(folder: Path, text: str | bytes) -> Path:
    (folder / "config.json").write_bytes(text.encode() if isinstance(text, str) else text)
    return folder


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_changes_nothing(tmp_path: Path, encoding: str) -> None:
    write(tmp_path, json.dumps(LIKE_LLAMA).encode(encoding))
    assert HfConfig.from_folder(tmp_path).raw == LIKE_LLAMA


@pytest.mark.parametrize("text", [
    '{"hidden_size": 64, "hidden_size": 32}',
    '{"hidden_size": 64, "rope_scaling": {"hidden_size": 1, "b": 2, "hidden_size": 1}}',
])  # fmt: skip
def test_a_key_that_stands_twice_is_named(tmp_path: Path, text: str) -> None:
    with refused("hidden_size in", "config.json", "this key twice"):
        HfConfig.from_folder(write(tmp_path, text))


def test_a_file_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    with write(tmp_path, "{").joinpath("config.json").open("r+b") as file:
        file.truncate(4 * 2**30)
    with refused("config.json", "4,294,967,296 bytes", f"{hf_config.LARGEST_FILE:,}"):
        HfConfig.from_folder(tmp_path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_: object) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_bytes", denied)
    with refused("config.json", "cannot be read", "Permission denied"):
        HfConfig.from_folder(write(tmp_path, "{}"))


# --- messages


@pytest.mark.parametrize("raw", [
    {"\x1b[31mred\x1b[0m": 1}, {"key": "\x1b]0;title\x07"}, {"a\nb": 1}, {"\ud800": 1}, {"key": "\udfff"},
    {"k" * 10**6: 1}, {"key": "v" * 10**6}, {"key": list(range(10**5))}, {f"key_{i}": i for i in range(1000)},
])  # fmt: skip
def test_whatever_a_config_holds_the_message_is_one_line_that_can_be_printed(raw: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        HfConfig.of(raw).finish()
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 2000
    message.encode()
