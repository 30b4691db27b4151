"""A checkpoint damaged in any way is accepted, or refused in one line that can be printed; in time, and in memory.

No mesh is opened: what is drawn here has to stop, or to pass, before one is.
"""

from __future__ import annotations

import json
import time
import tracemalloc
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from transformers import (
    FalconConfig,
    FalconForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from ttfamily.core.config.hf_config import HfConfig
from ttfamily.core.weights.checkpoint import Checkpoint
from ttfamily.core.weights.headers import INDEX, SINGLE
from ttfamily.core.weights.sizes import check_sizes
from ttfamily.core.weights.weights import Weights
from ttfamily.errors import TtfamilyError
from ttfamily.plugins.falcon import FALCON
from ttfamily.plugins.llama import LLAMA
from ttfamily.plugins.mistral import MISTRAL

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ttfamily.core.config.spec import ModelSpec

FAMILIES = {family.architectures[0]: family for family in (LLAMA, MISTRAL, FALCON)}
SIZES = {
    "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 64,
}  # fmt: skip
LIKE_LLAMA = {**SIZES, "intermediate_size": 48, "num_key_value_heads": 2}
SECONDS, BYTES, CHARACTERS = 5, 64 * 2**20, 2500
MANY = settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture])

ROPE = ("rope_type", "type", "rope_theta", "factor", "low_freq_factor", "high_freq_factor", "partial_rotary_factor")
KEYS = st.sampled_from([
    *LIKE_LLAMA, "head_dim", "hidden_act", "rms_norm_eps", "tie_word_embeddings", "attention_bias", "mlp_bias",
    "sliding_window", "rope_theta", "rope_scaling", "rope_parameters", "partial_rotary_factor", "architectures",
    "original_max_position_embeddings", "layer_norm_epsilon", "multi_query", "num_kv_heads", "alibi", "bias",
    "new_decoder_architecture", "parallel_attn", "num_ln_in_parallel_attn", "ffn_hidden_size", "activation",
    "use_cache", "auto_map", "quantization_config", "eos_token_id", "\x1b[2J", "\ud800", "k" * 10**5,
])  # fmt: skip
INTEGERS = st.sampled_from([0, 1, -1, 2, 3, 7, 33, 10**6, 10**9, 2**31, 2**63, 10**12, 10**30, 10**400])
FLOATS = st.sampled_from([float("nan"), float("inf"), float("-inf"), 1e-300, 1e30, 1e308, 0.0, -0.5, 0.5, 1.0])
TEXTS = st.sampled_from(["", "silu", "llama3", "linear", "dynamic", "64", "\x1b]0;x\x07", "\udfff", "\0", "v" * 10**5])
PLAIN = st.one_of(st.none(), st.booleans(), INTEGERS, FLOATS, TEXTS)
SCALINGS = st.dictionaries(st.sampled_from([*ROPE, "original_max_position_embeddings", "beta"]), PLAIN, max_size=5)
VALUES = st.one_of(PLAIN, st.lists(PLAIN, max_size=3), SCALINGS)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Sound checkpoints of each family, by architecture; Mistral's in shards."""
    torch.manual_seed(0)
    models = (
        LlamaForCausalLM(LlamaConfig(**LIKE_LLAMA)),
        MistralForCausalLM(MistralConfig(**LIKE_LLAMA)),
        FalconForCausalLM(FalconConfig(**SIZES)),
    )
    folders = {}
    for model in models:
        folder = folders[type(model).__name__] = tmp_path_factory.mktemp(type(model).__name__)
        model.save_pretrained(folder, max_shard_size="8KB" if isinstance(model, MistralForCausalLM) else "1GB")
    return folders


@contextmanager
def bounded() -> Iterator[None]:
    """Let what is in the block be accepted, or be refused in one printable line; in time and in memory."""
    start = time.monotonic()
    tracemalloc.start()
    try:
        yield
    except TtfamilyError as error:
        message = str(error)
    else:
        message = ""
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert message.isprintable()  # which no line break is
    assert len(message) < CHARACTERS
    assert time.monotonic() - start < SECONDS
    assert peak < BYTES


def read(folder: Path, weights: Path) -> None:
    """Go the way of ``load`` as far as it needs no mesh."""
    config = HfConfig.from_folder(folder)
    family = FAMILIES.get(config.architecture, LLAMA)
    spec = family.spec(config)
    config.finish()
    with Checkpoint.open(weights) as checkpoint:
        check_sizes(checkpoint, family, spec)
        take_all(Weights(checkpoint, family, spec), spec)


def take_all(weights: Weights, spec: ModelSpec) -> None:
    """Take what the core's blocks take."""
    attention, hidden, wide = spec.attention, spec.hidden_size, spec.mlp.intermediate_size
    heads, key_values = (n * attention.head_dim for n in (attention.num_attention_heads, attention.num_key_value_heads))
    weights.take("embedding", ((spec.vocab_size, hidden),))
    for layer in range(spec.num_hidden_layers):
        weights.take("layer.attention_norm", ((hidden,),), layer, bias=spec.norm.bias)
        shapes = ((heads, hidden), (key_values, hidden), (key_values, hidden))
        weights.take("layer.attention.qkv", shapes, layer, bias=attention.qkv_bias)
        weights.take("layer.attention.out", ((hidden, heads),), layer, bias=attention.out_bias)
        if spec.residual != "parallel_shared_norm":
            weights.take("layer.mlp_norm", ((hidden,),), layer, bias=spec.norm.bias)
        ups = ("gate_up", 2) if spec.mlp.kind == "gated" else ("up", 1)
        weights.take(f"layer.mlp.{ups[0]}", ((wide, hidden),) * ups[1], layer, bias=spec.mlp.bias)
        weights.take("layer.mlp.down", ((hidden, wide),), layer, bias=spec.mlp.bias)
    weights.take("norm", ((hidden,),), bias=spec.norm.bias)
    weights.take("lm_head", ((spec.vocab_size, hidden),))
    weights.finish()


@pytest.mark.parametrize("architecture", FAMILIES)
def test_an_undamaged_checkpoint_is_read_to_the_end(checkpoints: dict[str, Path], architecture: str) -> None:
    read(checkpoints[architecture], checkpoints[architecture])


@MANY
@given(architecture=st.sampled_from([*FAMILIES]), changed=st.dictionaries(KEYS, VALUES, max_size=4), gone=KEYS)
def test_keys_of_any_type_and_size(
    checkpoints: dict[str, Path], tmp_path: Path, architecture: str, changed: dict[str, Any], gone: str
) -> None:
    sound = checkpoints[architecture]
    raw = json.loads((sound / "config.json").read_text())
    left = {key: value for key, value in raw.items() if key != gone}
    (tmp_path / "config.json").write_text(json.dumps({**left, **changed}))
    with bounded():
        read(tmp_path, sound)


@st.composite
def damages(draw: st.DrawFn, content: bytes, *, first: int) -> bytes:
    """Cut a file, flip or repeat bytes of it, or put others in; most often among its ``first``."""
    place = draw(st.integers(0, min(first, len(content) - 1)) | st.integers(0, len(content) - 1))
    kind = draw(st.sampled_from(["cut", "flip", "repeat", "insert"]))
    if kind == "cut":
        return content[:place]
    if kind == "flip":
        return content[:place] + bytes([draw(st.integers(0, 255))]) + content[place + 1 :]
    if kind == "repeat":
        length = draw(st.integers(1, 200))
        return content[: place + length] + content[place:]
    return (
        content[:place] + draw(st.binary(max_size=9) | st.sampled_from([b"\xff\xfe", b"[" * 10**5])) + content[place:]
    )


@MANY
@given(data=st.data())
def test_bytes_of_a_config(checkpoints: dict[str, Path], tmp_path: Path, data: st.DataObject) -> None:
    sound = checkpoints[data.draw(st.sampled_from([*FAMILIES]))]
    content = (sound / "config.json").read_bytes()
    (tmp_path / "config.json").write_bytes(data.draw(damages(content, first=len(content))))
    with bounded():
        read(tmp_path, sound)


@MANY
@given(entry=st.sampled_from(["hidden_size", "rope_parameters", "\x1b[31m"]), value=VALUES)
def test_a_key_twice_is_always_refused(checkpoints: dict[str, Path], tmp_path: Path, entry: str, value: Any) -> None:
    text = (checkpoints["LlamaForCausalLM"] / "config.json").read_text().rstrip().removesuffix("}")
    twice = ", ".join(f"{json.dumps(entry)}: {json.dumps(value)}" for _ in range(2))
    (tmp_path / "config.json").write_text(f"{text}, {twice}}}")
    with bounded(), pytest.raises(TtfamilyError, match="this key twice"):
        HfConfig.from_folder(tmp_path)


@MANY
@given(data=st.data())
def test_bytes_of_a_safetensors_file(checkpoints: dict[str, Path], tmp_path: Path, data: st.DataObject) -> None:
    sound = checkpoints[data.draw(st.sampled_from(["LlamaForCausalLM", "FalconForCausalLM"]))]
    content = (sound / SINGLE).read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    (tmp_path / SINGLE).write_bytes(data.draw(damages(content, first=header)))
    with bounded():
        read(sound, tmp_path)


@MANY
@given(data=st.data(), shape=st.lists(INTEGERS, max_size=3), dtype=st.sampled_from(["F32", "I8", "F4", 7, None, []]))
def test_entries_of_a_header(
    checkpoints: dict[str, Path], tmp_path: Path, data: st.DataObject, shape: list[int], dtype: object
) -> None:
    content = (checkpoints["LlamaForCausalLM"] / SINGLE).read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    entry = header[data.draw(st.sampled_from(sorted(header.keys() - {"__metadata__"})))]
    change = st.fixed_dictionaries(
        {}, optional={"shape": st.just(shape), "dtype": st.just(dtype), "data_offsets": VALUES}
    )
    entry |= data.draw(change)
    text = json.dumps(header).encode()
    (tmp_path / SINGLE).write_bytes(len(text).to_bytes(8, "little") + text + content[start:])
    with bounded():
        read(checkpoints["LlamaForCausalLM"], tmp_path)


@MANY
@given(data=st.data())
def test_an_index(checkpoints: dict[str, Path], tmp_path: Path, data: st.DataObject) -> None:
    sound = checkpoints["MistralForCausalLM"]
    for shard in sound.glob("*.safetensors"):
        if not (tmp_path / shard.name).exists():
            (tmp_path / shard.name).symlink_to(shard)
    index = json.loads((sound / INDEX).read_text())
    names = st.sampled_from([*index["weight_map"], "ghost.weight", "\ud800", "n" * 10**5])
    index["weight_map"] |= data.draw(st.dictionaries(names, VALUES, max_size=2))
    content = json.dumps(index).encode()
    damaged = data.draw(st.just(content) | damages(content, first=len(content)))
    (tmp_path / INDEX).write_bytes(damaged)
    with bounded():
        read(sound, tmp_path)
