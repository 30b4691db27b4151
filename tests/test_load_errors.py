"""What ``ttfamily.load`` says of every bad input, and that it leaves nothing open."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

import ttfamily
from ttfamily.core.mesh import mesh as meshes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WEIGHTS = "model.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound one-layer checkpoint, for a test to break."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=101, hidden_size=64, intermediate_size=96, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=128,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ttfamily.Model]:
    """A loaded model, to send bad requests to."""
    path = tmp_path_factory.mktemp("sound")
    config = LlamaConfig(
        vocab_size=101, hidden_size=64, intermediate_size=96, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=128,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(path)
    with ttfamily.load(path, device="simulated", max_batch_size=3, max_seq_len=100) as loaded:
        yield loaded


def refused(*parts: str) -> Any:
    return pytest.raises(ttfamily.TtfamilyError, match=".*".join(map(re.escape, parts)))


def edit(folder: Path, **keys: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **keys}))


def load(folder: Path | str, **options: Any) -> None:
    ttfamily.load(folder, **{"device": "simulated", "max_batch_size": 1, **options}).close()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with refused(str(tmp_path / "nowhere"), "no such folder"):
        load(tmp_path / "nowhere")


def test_a_path_in_words_is_taken_for_a_path(tmp_path: Path) -> None:
    with refused("no such folder"):
        load(f"{tmp_path}/nowhere")


def test_a_folder_without_config_json_is_refused(tmp_path: Path) -> None:
    with refused("no config.json"):
        load(tmp_path)


def test_a_model_that_is_not_cached_cannot_be_had_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with refused("ttfamily-tests/none", "not in the local cache", "no way to the Hugging Face hub"):
        load("ttfamily-tests/none")


def test_a_missing_shard_is_named(folder: Path) -> None:
    shards = dict.fromkeys(load_file(folder / WEIGHTS), "model-00001-of-00002.safetensors")
    index = {"metadata": {}, "weight_map": shards}
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps(index))
    (folder / WEIGHTS).unlink()
    with refused("model-00001-of-00002.safetensors"):
        load(folder)


def test_a_truncated_file_is_found_before_anything_is_loaded(folder: Path) -> None:
    file = folder / WEIGHTS
    file.write_bytes(file.read_bytes()[:-100])
    with refused(WEIGHTS, "bytes"):
        load(folder)


def test_a_tensor_of_another_shape_is_named_with_both_shapes(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    name = "model.layers.0.mlp.up_proj.weight"
    tensors[name] = tensors[name][:90].clone()
    save_file(tensors, folder / WEIGHTS)
    with refused(name, "[90, 64]", "[96, 64]"):
        load(folder)


def test_nan_in_one_weight_is_named_instead_of_answered_with(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    name = "model.layers.0.self_attn.v_proj.weight"
    tensors[name][3, 3] = float("nan")
    save_file(tensors, folder / WEIGHTS)
    with refused(name, "NaN"):
        load(folder)


def test_an_absurd_hidden_size_is_not_answered_with_more_chips(folder: Path) -> None:
    edit(folder, hidden_size=131072)
    with refused("model.embed_tokens.weight", "[101, 64]", "[101, 131072]", "config.json"):
        load(folder)


def test_layers_that_have_no_weights_are_not_built(folder: Path) -> None:
    edit(folder, num_hidden_layers=1000)
    with refused("num_hidden_layers in config.json", "1,000", "1, of which the checkpoint has the weights"):
        load(folder)


def test_the_empty_path_is_not_the_current_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with refused("name_or_folder", "''"):
        load("")


def test_an_unknown_architecture_lists_the_known_ones(folder: Path) -> None:
    edit(folder, architectures=["NobodyForCausalLM"])
    with refused("NobodyForCausalLM", "LlamaForCausalLM"):
        load(folder)


def test_an_unknown_mesh_lists_the_known_ones(folder: Path) -> None:
    with refused("n151", "n150, n300"):
        load(folder, mesh="n151")


def test_an_unknown_kind_of_device_lists_the_known_ones(folder: Path) -> None:
    with refused("gpu", "auto, hardware, simulated, dry"):
        load(folder, device="gpu")


def test_an_unknown_precision_lists_the_known_ones(folder: Path) -> None:
    with refused("fast", "accuracy, performance"):
        load(folder, precision="fast")


def test_an_unknown_rope_type_lists_the_known_ones(folder: Path) -> None:
    edit(folder, rope_parameters={"rope_type": "spiral", "rope_theta": 10000.0})
    with refused("spiral", "llama3"):
        load(folder)


def test_a_key_that_would_change_the_graph_is_named(folder: Path) -> None:
    edit(folder, attention_sinks=4)
    with refused("attention_sinks"):
        load(folder)


def test_hardware_that_is_not_there_is_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meshes, "DRIVER", tmp_path / "dev" / "tenstorrent")
    with refused('device="hardware"', "tenstorrent", "doctor"):
        load(folder, device="hardware")


@pytest.mark.parametrize(("option", "value", "limit", "fix"), [
    ("max_batch_size", 33, "1 to 32", "Run more users in turns"), ("max_batch_size", 0, "1 to 32", "at least one user"),
    ("max_batch_size", -1, "1 to 32", "at least one user"), ("max_seq_len", 129, "1 to 128", "a shorter context"),
    ("max_seq_len", 0, "1 to 128", "at least one token"), ("max_seq_len", -5, "1 to 128", "at least one token"),
])  # fmt: skip
def test_a_size_out_of_range_is_named_with_its_limit(
    folder: Path, option: str, value: int, limit: str, fix: str
) -> None:
    with refused(option, str(value), limit, fix):
        load(folder, **{option: value})


@pytest.mark.parametrize(("name", "content"), [
    ("tokenizer.json", "{"), ("generation_config.json", "[]"), ("generation_config.json", '{"eos_token_id": "2"}'),
])  # fmt: skip
def test_a_damaged_small_file_is_found_before_a_mesh_is_opened(
    folder: Path, name: str, content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(*_: object) -> None:
        pytest.fail("opened a mesh")

    monkeypatch.setattr("ttfamily.loading.open_mesh", opened)
    (folder / name).write_text(content)
    with refused(name):
        load(folder)


def test_after_a_failed_load_the_next_one_works(folder: Path) -> None:
    with refused("max_seq_len"):
        load(folder, max_seq_len=4096)
    load(folder)


def test_a_second_simulated_mesh_at_a_time_is_refused(folder: Path, model: ttfamily.Model) -> None:
    assert model.mesh.kind == "simulated"
    with refused("a second mesh while one is open"):
        load(folder)


@pytest.mark.parametrize(("call", "parts"), [
    (lambda m: m.prefill(torch.arange(101), 0), ("prompt", "101 tokens", "1 to 100")),
    (lambda m: m.generate(list(range(101))), ("prompt", "101 tokens", "max_seq_len")),
    (lambda m: m.prefill(torch.arange(0), 0), ("prompt", "0 tokens")),
    (lambda m: m.prefill(torch.zeros(2, 3, dtype=torch.int64), 0), ("prompt", "[2, 3]")),
    (lambda m: m.prefill(torch.tensor([1.5]), 0), ("tokens", "float32", "integer")),
    (lambda m: m.prefill(torch.tensor([5, 101]), 0), ("tokens", "101", "0 to 100")),
    (lambda m: m.prefill(torch.tensor([-1]), 0), ("tokens", "-1")),
    (lambda m: m.prefill(torch.tensor([1]), 3), ("slot", "3", "0 to 2")),
    (lambda m: m.decode(torch.tensor([1]), torch.tensor([0])), ("tokens", "[1]", "[3]")),
    (lambda m: m.decode(torch.tensor([1, 1, 1]), torch.tensor([0, 100, -1])), ("positions", "100", "99")),
    (lambda m: m.decode(torch.tensor([1, 1, 1]), torch.tensor([0, -2, -1])), ("positions", "-2")),
    (lambda m: m.decode(torch.tensor([1, 101, 1]), torch.tensor([0, 0, -1])), ("tokens", "101")),
    (lambda m: m.generate([[1, 2]] * 4), ("4 prompts", "1 to 3")),
    (lambda m: m.generate([[1], []]), ("prompt", "0 tokens")),
    (lambda m: m.generate("text"), ("tokenizer", "without one")),
    (lambda m: m.generate([1], max_new_tokens=0), ("max_new_tokens", "0")),
    (lambda m: m.generate([1], temperature=-1.0), ("temperature", "-1.0")),
    (lambda m: m.generate([1], temperature=1.0, top_k=0), ("top_k", "0")),
    (lambda m: m.generate([1], temperature=1.0, top_p=0.0), ("top_p", "0.0")),
    (lambda m: m.generate([[1], [2]], temperature=1.0, seed=[1]), ("seed", "1 seeds", "2")),
    (lambda m: m.chat([{"role": "user", "content": "Hi"}]), ("tokenizer",)),
])  # fmt: skip
def test_a_bad_request_is_refused_before_anything_runs(
    model: ttfamily.Model, call: Callable[[ttfamily.Model], object], parts: tuple[str, ...]
) -> None:
    with refused(*parts):
        call(model)


def test_thirty_three_prompts_do_not_fit_thirty_two_slots(folder: Path, model: ttfamily.Model) -> None:
    model.close()
    with ttfamily.load(folder, device="dry", max_batch_size=32) as full, refused("33 prompts", "1 to 32"):
        full.generate([[1]] * 33)
