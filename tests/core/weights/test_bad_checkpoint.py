"""What damaged safetensors do: they are refused by name, without reading more than a header."""

from __future__ import annotations

import json
import re
import time
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from ttfamily.core.weights.checkpoint import Checkpoint
from ttfamily.core.weights.headers import INDEX, LARGEST_HEADER, SINGLE
from ttfamily.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from pathlib import Path

GIB = 2**30
SIZES = {"vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
LIKE_LLAMA = {**SIZES, "intermediate_size": 48, "max_position_embeddings": 64}


def refused(*parts: str) -> Any:
    return pytest.raises(CheckpointError, match=".*".join(map(re.escape, parts)))


def write_header(folder: Path, header: bytes, data: int = 8) -> Path:
    (folder / SINGLE).write_bytes(len(header).to_bytes(8, "little") + header + bytes(data))
    return folder


def write_shards(folder: Path, **shards: dict[str, torch.Tensor]) -> Path:
    places = {}
    for shard, tensors in shards.items():
        save_file(tensors, folder / f"{shard}.safetensors")
        places |= dict.fromkeys(tensors, f"{shard}.safetensors")
    (folder / INDEX).write_text(json.dumps({"weight_map": places}))
    return folder


# --- one file


@pytest.mark.parametrize("length", [LARGEST_HEADER + 1, 8 * GIB, 2048 * GIB])
def test_a_header_beyond_the_formats_limit_is_refused_unread(tmp_path: Path, length: int) -> None:
    with (tmp_path / SINGLE).open("wb") as file:
        file.write(length.to_bytes(8, "little"))
        file.truncate(8 + length + 8)  # sparse: it takes no room
    start = time.monotonic()
    tracemalloc.start()
    with refused(SINGLE, f"{length:,} bytes", f"{LARGEST_HEADER:,}"):
        Checkpoint.open(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.monotonic() - start < 1
    assert peak < 2**20


@pytest.mark.parametrize("dtype", ["7", "null", "{}", "[1]", "true"])
def test_a_dtype_that_is_no_text_is_refused(tmp_path: Path, dtype: str) -> None:
    header = f'{{"a": {{"dtype": {dtype}, "shape": [2], "data_offsets": [0, 8]}}}}'
    with refused(SINGLE, "damaged header"):
        Checkpoint.open(write_header(tmp_path, header.encode()))


def test_a_tensor_that_stands_twice_in_a_header_is_named(tmp_path: Path) -> None:
    entry = b'"layer.weight": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}'
    with refused("layer.weight in", SINGLE, "twice"):
        Checkpoint.open(write_header(tmp_path, b"{" + entry + b", " + entry + b"}"))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    write_header(tmp_path, b"{}")
    monkeypatch.setattr("pathlib.Path.open", denied)
    with refused(SINGLE, "cannot be read", "Permission denied"):
        Checkpoint.open(tmp_path)


# --- shards


@pytest.mark.parametrize(("place", "parts"), [
    ("x" * 300, ("no shard xxx", "too long")),
    ("../outside.safetensors", ("no shard ../outside.safetensors", "leaves the folder")),
    ("/etc/passwd", ("no shard /etc/passwd", "leaves the folder")),
    ("nul\0.safetensors", ("no shard nul\\x00",)),
    ("\ud800.safetensors", ("no shard \\ud800",)),
    ("..", ("no shard ..",)),
    ("", ("no shard",)),
    (7, ("damaged index", "7")),
    (None, ("damaged index", "None")),
    (["a"], ("damaged index",)),
])  # fmt: skip
def test_a_place_that_is_no_shard_of_the_folder_is_refused(tmp_path: Path, place: object, parts: tuple[str]) -> None:
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"a.weight": place}}))
    with refused(INDEX, *parts):
        Checkpoint.open(tmp_path)


def test_a_path_that_leaves_the_folder_is_not_called_a_missing_download(tmp_path: Path) -> None:
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"a.weight": "../a.safetensors"}}))
    with pytest.raises(CheckpointError) as caught:
        Checkpoint.open(tmp_path)
    assert "Download the missing shard" not in str(caught.value)


def test_a_name_that_stands_twice_in_the_index_is_named(tmp_path: Path) -> None:
    write_shards(tmp_path, one={"a.weight": torch.ones(2)})
    (tmp_path / INDEX).write_text('{"weight_map": {"a.weight": "one.safetensors", "a.weight": "two.safetensors"}}')
    with refused("a.weight in", INDEX, "twice"):
        Checkpoint.open(tmp_path)


@pytest.mark.parametrize("other", [torch.zeros(2), torch.ones(3), torch.ones(2, dtype=torch.float16)])
def test_a_tensor_that_two_shards_hold_differently_is_refused(tmp_path: Path, other: torch.Tensor) -> None:
    write_shards(
        tmp_path,
        one={"a.weight": torch.ones(2), "c": torch.ones(1)},
        two={"a.weight": other, "b.weight": torch.ones(2)},
    )
    with refused("a.weight", "one.safetensors and two.safetensors"):
        Checkpoint.open(tmp_path)


def test_a_tensor_that_two_shards_hold_alike_is_fine(tmp_path: Path) -> None:
    twice = torch.tensor([1.0, float("nan")])  # the same bytes, though NaN differs from itself
    write_shards(tmp_path, one={"a.weight": twice, "c": torch.ones(1)}, two={"a.weight": twice.clone()})
    with Checkpoint.open(tmp_path) as checkpoint:
        assert set(checkpoint.names) == {"a.weight", "c"}


# --- from a config alone

ON_DISK = {
    "gpt_neox": {**LIKE_LLAMA, "tie_word_embeddings": False},
    "phi3": {**LIKE_LLAMA, "pad_token_id": 0},
    "gpt2": {"vocab_size": 96, "n_embd": 32, "n_layer": 2, "n_head": 4},
    "mixtral": {**LIKE_LLAMA, "num_key_value_heads": 2, "num_local_experts": 4},
    "falcon": SIZES,
}


@pytest.mark.parametrize("kind", ON_DISK)
def test_the_names_are_those_that_transformers_saves(tmp_path: Path, kind: str) -> None:
    AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **ON_DISK[kind])).save_pretrained(tmp_path)
    saved = load_file(tmp_path / SINGLE)
    checkpoint = Checkpoint.of_config({"model_type": kind, **ON_DISK[kind]})
    assert {name: checkpoint.info(name).shape for name in checkpoint.names} == {
        name: tuple(tensor.shape) for name, tensor in saved.items()
    }
    assert ("embed_out.weight" in checkpoint.names) == (kind == "gpt_neox")


@pytest.mark.parametrize("keys", [
    {"use_cache": None}, {"auto_map": None}, {"rms_norm_eps": 1}, {"initializer_range": None}, {"architectures": 7},
    {"pad_token_id": 10**6}, {"eos_token_id": ["2", "a"]},
])  # fmt: skip
def test_transformers_strictness_about_what_ttfamily_does_not_read_decides_nothing(keys: dict[str, Any]) -> None:
    usual = Checkpoint.of_config({"model_type": "llama", **LIKE_LLAMA})
    assert Checkpoint.of_config({"model_type": "llama", **LIKE_LLAMA, **keys}).names == usual.names


@pytest.mark.parametrize("keys", [
    {"hidden_act": None}, {"hidden_size": "32"}, {"num_attention_heads": 0}, {"dtype": "float3"}, {"dtype": 7},
    {"head_dim": -1}, {"rope_scaling": {"type": "spiral"}},
])  # fmt: skip
def test_what_transformers_refuses_is_an_error_of_ours(keys: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="model_type"):
        Checkpoint.of_config({"model_type": "llama", **LIKE_LLAMA, **keys})
