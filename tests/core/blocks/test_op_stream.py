"""The ops of a decode step and of a prefill chunk: what a layer costs in ops, and that no step writes from the host."""

from __future__ import annotations

import gc
import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from transformers import FalconConfig, LlamaConfig

import ttfamily
from ttfamily.sim.session import observed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from transformers import PretrainedConfig

FREE = {"ttnn.deallocate", "ttnn.reshape"}  # neither runs anything on the chip
ATTENTION = [
    "rms_norm", "linear", "experimental.nlp_create_qkv_heads_decode",
    "experimental.rotary_embedding_llama", "experimental.rotary_embedding_llama",
    "experimental.paged_update_cache", "experimental.paged_update_cache",
    "transformer.paged_scaled_dot_product_attention_decode", "to_memory_config",
    "experimental.nlp_concat_heads_decode", "to_memory_config", "linear",
]  # fmt: skip
MLP = ["rms_norm", "linear", "linear", "multiply", "linear"]


LLAMA = {
    "vocab_size": 1000, "hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 8,
    "num_key_value_heads": 4, "head_dim": 32, "max_position_embeddings": 256, "architectures": ["LlamaForCausalLM"],
}  # fmt: skip
FALCON = {
    "vocab_size": 1000, "hidden_size": 256, "num_attention_heads": 8, "max_position_embeddings": 256,
    "architectures": ["FalconForCausalLM"],
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Make a folder that holds the config of a model with so many layers, and no weights."""

    def make(layers: int, config: PretrainedConfig | None = None) -> Path:
        config = config or LlamaConfig(**LLAMA)
        config.num_hidden_layers = layers
        path = tmp_path / str(layers)
        path.mkdir()
        (path / "config.json").write_text(json.dumps(config.to_dict()))
        return path

    return make


def decode_ops(folder: Path, name: str) -> list[str]:
    """Run one decode pass on a dry mesh; return the names of its ops, in order."""
    ops: list[str] = []
    with (
        ttfamily.load(folder, mesh=name, device="dry", max_batch_size=8) as model,
        observed(lambda op, *_: ops.append(op)),
    ):
        model.runner.run_decode()
    return [op for op in ops if op not in FREE]


@pytest.mark.parametrize(("name", "reduce"), [("n150", []), ("n300", ["all_reduce"])])
def test_a_decode_layer_is_no_more_than_these_ops(folder: Callable[[int], Path], name: str, reduce: list[str]) -> None:
    one, three = (decode_ops(folder(layers), name) for layers in (1, 3))
    layer = [f"ttnn.{op}" for op in [*ATTENTION, *reduce, "add", *MLP, *reduce, "add"]]
    start = one.index("ttnn.rms_norm")
    assert three[start : start + 3 * len(layer)] == 3 * layer
    assert len(three) == len(one) + 2 * len(layer)


@pytest.mark.parametrize(("name", "reduce"), [("n150", []), ("n300", ["all_reduce"])])
@pytest.mark.parametrize(
    ("form", "norms"),
    [
        ({}, (["layer_norm", "clone"], [])),
        ({"new_decoder_architecture": True, "num_kv_heads": 2}, (["layer_norm"], ["layer_norm"])),
    ],
    ids=["7B", "40B"],
)
def test_a_parallel_layer_has_one_collective(
    folder: Callable[..., Path],
    name: str,
    reduce: list[str],
    form: dict[str, Any],
    norms: tuple[list[str], list[str]],
) -> None:
    one, three = (decode_ops(folder(layers, FalconConfig(**FALCON, **form)), name) for layers in (1, 3))
    before_mlp, before_attention = norms
    ops = [*before_mlp, "linear", "linear", *before_attention, *ATTENTION[1:], "add", *reduce, "add"]
    layer = [f"ttnn.{op}" for op in ops]
    start = one.index("ttnn.layer_norm")
    assert three[start : start + 3 * len(layer)] == 3 * layer
    assert len(three) == len(one) + 2 * len(layer)


def test_a_decode_pass_touches_the_host_never(folder: Callable[[int], Path]) -> None:
    ops = decode_ops(folder(1), "n300")
    crossing = {"ttnn.from_torch", "ttnn.to_torch", "ttnn.copy_host_to_device_tensor", "ttnn.allocate_tensor_on_device"}
    assert not crossing & set(ops)


def test_a_prefill_layer_frees_what_it_makes(folder: Callable[[int], Path]) -> None:
    with ttfamily.load(folder(2), mesh="n300", device="dry", max_batch_size=2) as model:
        used = []
        for length in (5, 200, 256):  # the last is the whole context
            with pytest.raises(ttfamily.TtfamilyError, match="dry mesh"):  # reading the logits, at the very end
                model.prefill(torch.arange(length), 1)
            gc.collect()
            used.append(model.mesh.dram_bytes())
        assert used == 3 * used[:1]
