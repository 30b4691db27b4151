"""Rules of the chips that the mock cluster does not enforce by itself, checked on what it does show."""

from __future__ import annotations

import contextlib
import gc
import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
import ttnn
from transformers import FalconConfig, LlamaConfig

import ttfamily
from ttfamily.core.layout.plan import LATER_CHUNK
from ttfamily.core.layout.programs import COLLECTIVES_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WIDE = {"hidden_size": 8192, "intermediate_size": 28672, "num_attention_heads": 64, "num_key_value_heads": 8}
# 264 tiles, whose parts lie on fewer cores: shards of different widths leave holes of different sizes.
UNEVEN = {**WIDE, "hidden_size": 8448, "num_attention_heads": 66, "num_key_value_heads": 66, "head_dim": 128}
LLAMA_8B = {"hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32, "num_key_value_heads": 8}
SWAP_TILE = 2048  # bytes, for decode's rotation
SMALL = {"hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 8, "num_key_value_heads": 4}


@pytest.fixture
def dry(tmp_path: Path) -> Callable[..., Any]:
    """Open a one-layer model from its config alone, on a dry n300."""

    def opened(**sizes: int) -> Any:
        config = LlamaConfig(
            vocab_size=1000, num_hidden_layers=1, max_position_embeddings=8192, architectures=["LlamaForCausalLM"],
            **sizes,
        )  # fmt: skip
        (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
        return ttfamily.load(tmp_path, mesh="n300", device="dry", max_batch_size=4, max_seq_len=4096)

    return opened


@contextlib.contextmanager
def nothing_to_read() -> Iterator[None]:
    """Run all ops of a pass: only reading the logits, at its end, is refused on a dry mesh."""
    with pytest.raises(ttfamily.TtfamilyError, match="dry mesh"):
        yield


def l1_in_use(model: ttfamily.Model) -> int:
    gc.collect()
    used: int = ttnn.get_memory_view(model.mesh.device, ttnn.BufferType.L1).total_bytes_allocated_per_bank
    return used


def decode(model: ttfamily.Model) -> None:
    ttnn.deallocate(model.runner.run_decode())


def test_no_prompt_keeps_new_l1_once_decode_is_captured(small_checkpoint: Path) -> None:
    with ttfamily.load(small_checkpoint, mesh="n300", device="simulated", max_batch_size=4) as model:
        model.prefill(torch.arange(20), 0)
        model.decode(torch.ones(4, dtype=torch.int64), torch.tensor([20, -1, -1, -1]))
        used = l1_in_use(model)
        for length in (60, 90, 120):  # each the first of its padded length
            model.prefill(torch.arange(length), 1)
            assert l1_in_use(model) == used


@pytest.mark.parametrize("name", ["n150", "n300", "t3k"])
def test_falcon_7b_may_decode_before_it_prefills(name: str, tmp_path: Path) -> None:
    """Its stream spreads over two cores only, so that a semaphore in the wrong place takes a fifth of their L1."""
    config = FalconConfig(
        hidden_size=4544, num_attention_heads=71, num_hidden_layers=2, architectures=["FalconForCausalLM"]
    )
    config.save_pretrained(tmp_path)
    with ttfamily.load(tmp_path, mesh=name, device="dry", max_batch_size=4) as model:
        decode(model)
        with nothing_to_read():
            model.prefill(torch.arange(2048) % 1000, 0)
        decode(model)


@pytest.mark.parametrize(
    ("name", "scheme"),
    [("n300", None), ("n300", "fractured"), ("t3k", None), ("t3k", "fractured"), ("2x4", None), ("galaxy", None)],
)
@pytest.mark.parametrize("sizes", [WIDE, UNEVEN], ids=["8192", "8448"])
def test_what_collectives_keep_lies_at_the_top_of_l1(
    name: str, scheme: Any, sizes: dict[str, int], tmp_path: Path
) -> None:
    config = LlamaConfig(**sizes, vocab_size=1000, num_hidden_layers=1, architectures=["LlamaForCausalLM"])
    config.save_pretrained(tmp_path)
    with ttfamily.load(tmp_path, mesh=name, device="dry", max_batch_size=32, scheme=scheme) as model:
        decode(model)
        with nothing_to_read():
            model.prefill(torch.arange(2048) % 1000, 0)
        gc.collect()
        view = ttnn.get_memory_view(model.mesh.device, ttnn.BufferType.L1)
        lowest = min(int(block["address"]) for block in view.block_table if block["allocated"] == "yes")
        assert view.total_bytes_per_bank - lowest <= COLLECTIVES_BYTES + SWAP_TILE


@pytest.mark.parametrize("sizes", [WIDE, LLAMA_8B], ids=["8192", "4096"])
def test_the_longest_chunk_fits_beside_what_collectives_keep(dry: Callable[..., Any], sizes: dict[str, int]) -> None:
    with dry(**sizes) as model:
        decode(model)
        with nothing_to_read():
            model.prefill(torch.arange(2048) % 1000, 0)


def test_a_later_chunk_is_never_short(dry: Callable[..., Any]) -> None:
    with dry(**SMALL) as model:
        assert model.plan.padded_length(0, 5) == 32
        assert model.plan.padded_length(2048, 5) == LATER_CHUNK
        assert model.plan.padded_length(2048, 300) == 512


def test_a_head_wider_than_flash_decode_can_compute_is_refused(dry: Callable[..., Any]) -> None:
    with pytest.raises(ttfamily.TtfamilyError, match="head_dim: got 288; expected at most 256"):
        dry(**{**SMALL, "head_dim": 288})
