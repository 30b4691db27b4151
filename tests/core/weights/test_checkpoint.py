"""Checkpoints are checked when they are opened and read one tensor at a time."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from safetensors.torch import load_file, save, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from ttfamily.core.weights.checkpoint import INDEX, SINGLE, Checkpoint
from ttfamily.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TINY = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
TENSORS = {
    "a.weight": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "b.weight": torch.arange(8, dtype=torch.bfloat16).reshape(4, 2),
    "b.bias": torch.tensor([1.5, -2.5], dtype=torch.float16),
    "scalar": torch.tensor(3, dtype=torch.int64),
}
CONTENT = save(TENSORS)


def refused(*parts: str) -> Any:
    return pytest.raises(CheckpointError, match=".*".join(map(re.escape, parts)))


@pytest.fixture
def single(tmp_path: Path) -> Path:
    save_file(TENSORS, tmp_path / SINGLE)
    return tmp_path


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    LlamaForCausalLM(LlamaConfig(**TINY)).save_pretrained(tmp_path, max_shard_size="8KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    return tmp_path


def edit_index(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    index = json.loads((folder / INDEX).read_text())
    change(index)
    (folder / INDEX).write_text(json.dumps(index))


def test_tensors_come_back_as_safetensors_wrote_them(single: Path) -> None:
    with Checkpoint.open(single) as checkpoint:
        assert checkpoint.device == "cpu"
        assert set(checkpoint.names) == set(TENSORS)
        for name, expected in TENSORS.items():
            got = checkpoint.tensor(name)
            assert got.dtype == expected.dtype
            assert torch.equal(got, expected)


def test_shards_hold_together_what_one_file_would(sharded: Path) -> None:
    expected = {name: t for file in sharded.glob("*.safetensors") for name, t in load_file(file).items()}
    with Checkpoint.open(sharded) as checkpoint:
        assert set(checkpoint.names) == set(expected)
        for name, tensor in expected.items():
            assert torch.equal(checkpoint.tensor(name), tensor)


def test_one_file_wins_over_an_index_beside_it_as_in_transformers(sharded: Path) -> None:
    save_file(TENSORS, sharded / SINGLE)
    with Checkpoint.open(sharded) as checkpoint:
        assert set(checkpoint.names) == set(TENSORS)


def test_on_meta_only_shapes_and_types_are_there(sharded: Path) -> None:
    with Checkpoint.open(sharded) as real, Checkpoint.open(sharded, device="meta") as meta:
        assert meta.device == "meta"
        assert set(meta.names) == set(real.names)
        for name in real.names:
            assert meta.tensor(name).device.type == "meta"
            assert meta.tensor(name).shape == real.tensor(name).shape
            assert meta.tensor(name).dtype == real.tensor(name).dtype


def test_a_tensor_outlives_the_checkpoint_it_came_from(single: Path) -> None:
    with Checkpoint.open(single) as checkpoint:
        tensor = checkpoint.tensor("a.weight")
    assert torch.equal(tensor, TENSORS["a.weight"])


def test_closing_gives_the_files_back_and_may_be_done_twice(single: Path) -> None:
    def open_files() -> int:
        with open("/proc/self/maps") as maps:  # noqa: PTH123 -- a pseudo file
            return maps.read().count(str(single))

    before = open_files()
    with Checkpoint.open(single) as checkpoint:
        assert open_files() == before
        checkpoint.tensor("a.weight")
    checkpoint.close()
    assert open_files() == before


# --- what can be wrong with a folder


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with refused("nowhere", "no such folder"):
        Checkpoint.open(tmp_path / "nowhere")


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    with refused(tmp_path.name, "no weights", SINGLE):
        Checkpoint.open(tmp_path)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth"])
def test_pickled_weights_are_never_read_and_the_way_out_is_said(tmp_path: Path, name: str) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / name)
    with refused(name, "Convert the weights to safetensors"):
        Checkpoint.open(tmp_path)


def test_safetensors_of_another_name_are_named(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "adapter_model.safetensors")
    with refused("adapter_model.safetensors", SINGLE):
        Checkpoint.open(tmp_path)


def test_a_missing_shard_is_named_when_the_checkpoint_is_opened(sharded: Path) -> None:
    shard = sorted(sharded.glob("*.safetensors"))[1]
    shard.unlink()
    with refused(INDEX, f"no shard {shard.name}"):
        Checkpoint.open(sharded)


def test_a_shard_cut_short_is_named_when_the_checkpoint_is_opened(sharded: Path) -> None:
    shard = max(sharded.glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-1])
    with refused(shard.name, "cut short", "as its header says"):
        Checkpoint.open(sharded)


def test_a_tensor_that_the_index_names_and_the_shard_lacks_is_named(sharded: Path) -> None:
    shard = min(sharded.glob("*.safetensors")).name
    edit_index(sharded, lambda index: index["weight_map"].update({"ghost.weight": shard}))
    with refused("no tensor ghost.weight"):
        Checkpoint.open(sharded)


def test_a_tensor_that_only_the_shard_knows_is_kept_to_be_reported(sharded: Path) -> None:
    edit_index(sharded, lambda index: index["weight_map"].pop("model.norm.weight"))
    with Checkpoint.open(sharded) as checkpoint:
        assert "model.norm.weight" in checkpoint.names


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"weight_map": 3}', '{"weight_map": ["a"]}', "[" * 100_000])
def test_a_damaged_index_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / INDEX).write_text(text)
    with refused(INDEX, "a damaged index"):
        Checkpoint.open(tmp_path)


def test_an_index_cannot_point_outside_its_folder(sharded: Path) -> None:
    save_file(TENSORS, sharded.parent / "outside.safetensors")
    edit_index(sharded, lambda index: index["weight_map"].update({"a.weight": "../outside.safetensors"}))
    with refused("no shard ../outside.safetensors"):
        Checkpoint.open(sharded)


# --- what can be wrong with a file


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(length=st.integers(0, len(CONTENT) - 1))
def test_a_file_cut_anywhere_is_refused_before_anything_is_read(tmp_path: Path, length: int) -> None:
    (tmp_path / SINGLE).write_bytes(CONTENT[:length])
    with refused(SINGLE, "cut short"):
        Checkpoint.open(tmp_path)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, len(CONTENT) - 1), value=st.integers(0, 255))
def test_a_damaged_byte_never_ends_in_another_error(tmp_path: Path, place: int, value: int) -> None:
    (tmp_path / SINGLE).write_bytes(CONTENT[:place] + bytes([value]) + CONTENT[place + 1 :])
    try:
        with Checkpoint.open(tmp_path) as checkpoint:
            for name in checkpoint.names:
                checkpoint.tensor(name)
    except CheckpointError as error:
        assert SINGLE in error.who  # noqa: PT017 -- an undamaged file is fine too


@pytest.mark.parametrize(
    "header",
    [
        "[]",
        "7",
        '{"a": 1}',
        '{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0]}}',
        '{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 1e999]}}',
        '{"a": {"dtype": [], "shape": [2], "data_offsets": [0, 8]}}',
        '{"a": {"shape": [2], "data_offsets": [0, 8]}}',
        '{"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}',
        '{"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}}',
        '{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}',
    ],
)
def test_a_header_that_makes_no_sense_is_refused(tmp_path: Path, header: str) -> None:
    text = header.encode()
    (tmp_path / SINGLE).write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    with refused(SINGLE, "damaged"):
        Checkpoint.open(tmp_path)


def test_bytes_after_the_last_tensor_are_refused(single: Path) -> None:
    with (single / SINGLE).open("ab") as file:
        file.write(b"\0")
    with refused(SINGLE, "too many"):
        Checkpoint.open(single)


def test_a_git_lfs_pointer_is_recognised(tmp_path: Path) -> None:
    (tmp_path / SINGLE).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    with refused(SINGLE, "git-lfs pointer", "git lfs pull"):
        Checkpoint.open(tmp_path)


def test_a_number_format_that_is_not_known_is_named(tmp_path: Path) -> None:
    text = b'{"a": {"dtype": "F4", "shape": [16], "data_offsets": [0, 8]}}'
    (tmp_path / SINGLE).write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    with refused(SINGLE, "F4"):
        Checkpoint.open(tmp_path)


def test_a_missing_tensor_is_named(single: Path) -> None:
    with Checkpoint.open(single) as checkpoint, refused(str(single), "no tensor c.weight"):
        checkpoint.tensor("c.weight")


# --- without a folder


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_config_stands_in_for_the_checkpoint_that_transformers_would_save(
    tmp_path: Path, tied: bool, dtype: str
) -> None:
    raw = {**TINY, "tie_word_embeddings": tied, "torch_dtype": dtype, "attention_bias": True}
    LlamaForCausalLM(LlamaConfig(**raw)).to(getattr(torch, dtype)).save_pretrained(tmp_path)
    saved = load_file(tmp_path / SINGLE)
    with Checkpoint.of_config(raw) as checkpoint:
        assert checkpoint.device == "meta"
        assert {n: (checkpoint.tensor(n).shape, checkpoint.tensor(n).dtype) for n in checkpoint.names} == {
            name: (tensor.shape, tensor.dtype) for name, tensor in saved.items()
        }
        assert all(checkpoint.tensor(name).device.type == "meta" for name in checkpoint.names)


@pytest.mark.parametrize("raw", [{}, {"model_type": "nobody_knows"}, {"model_type": "vit"}])
def test_a_config_without_a_language_model_is_refused(raw: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="model_type"):
        Checkpoint.of_config(raw)


def test_a_config_cannot_bring_code(tmp_path: Path) -> None:
    evil = {"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil"}
    (tmp_path / "evil.py").write_text("raise SystemExit")
    with Checkpoint.of_config({**TINY, "auto_map": evil, "_name_or_path": str(tmp_path)}) as checkpoint:
        assert "model.norm.weight" in checkpoint.names
