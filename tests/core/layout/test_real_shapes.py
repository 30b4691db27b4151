"""Llama-3.1-8B's own shapes: one layer of it with numbers, all of it on a dry mesh."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest
import torch
from torch.nn import functional
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

import ttfamily
from ttfamily.testing.correlation import assert_pcc
from ttfamily.testing.models import make_model, save_checkpoint
from ttfamily.testing.strategies import random_tokens

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from transformers import LlamaForCausalLM

    from ttfamily.model import Model

LLAMA_31_8B = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 128000,
    "eos_token_id": 128001,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 14336,
    "max_position_embeddings": 131072,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    },
    "rope_theta": 500000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.43.0.dev0",
    "use_cache": True,
    "vocab_size": 128256,
}
VOCAB = LLAMA_31_8B["vocab_size"]
USERS, STEPS, CONTEXT = 32, 2, 256
PROMPTS = {0: 130, 7: 33, 31: 77}  # tokens by slot; every other slot begins with its first decode step
MODEL_PCC = 0.99


def sequence(slot: int) -> torch.Tensor:
    """All tokens of a slot: its prompt, then what it is made to decode."""
    return random_tokens(VOCAB, PROMPTS.get(slot, 0) + STEPS, slot)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[int, torch.Tensor]]]:
    """One layer's checkpoint, 2.5 GB of it in bfloat16, and Hugging Face's logits for every slot."""
    model = make_model(LlamaConfig(**{**LLAMA_31_8B, "num_hidden_layers": 1}), dtype=torch.bfloat16)
    folder = save_checkpoint(model, tmp_path_factory.mktemp("llama-8b"))
    model.model.layers.float()
    model.model.norm.float()
    fresh = [slot for slot in range(USERS) if slot not in PROMPTS]
    wanted = dict(zip(fresh, expect(model, torch.stack([sequence(slot) for slot in fresh]), STEPS), strict=True))
    wanted |= {slot: expect(model, sequence(slot)[None], 1 + STEPS)[0] for slot in PROMPTS}
    del model
    yield folder, wanted
    for file in folder.iterdir():  # pytest keeps the folders of three runs
        file.unlink()


def expect(model: LlamaForCausalLM, tokens: torch.Tensor, last: int) -> torch.Tensor:
    """Float32 logits of the last tokens of ``[users, n]``, ``[users, last, vocab]``.

    The layer runs in Hugging Face; the two tables stay in bfloat16, whose values they hold, and are
    converted piece by piece: in float32 they would take 4 GB.
    """
    x = model.model.embed_tokens(tokens).float()
    angles = LlamaRotaryEmbedding(model.config)(x, torch.arange(tokens.shape[1])[None])
    hidden = model.model.norm(model.model.layers[0](x, position_embeddings=angles)[:, -last:])
    return torch.cat([functional.linear(hidden, part.float()) for part in model.lm_head.weight.split(16384)], -1)


@pytest.mark.parametrize("name", ["n150", "n300"])
def test_one_layer_of_llama_8b_at_batch_32(name: str, checkpoint: tuple[Path, dict[int, torch.Tensor]]) -> None:
    folder, wanted = checkpoint
    with ttfamily.load(folder, mesh=name, device="simulated", max_batch_size=USERS, max_seq_len=CONTEXT) as model:
        for slot, count in PROMPTS.items():
            assert_pcc(model.prefill(sequence(slot)[:count], slot), wanted[slot][0], MODEL_PCC)
        for step in range(STEPS):
            logits = decode(model, step)
            for slot in range(USERS):
                assert_pcc(logits[slot], wanted[slot][step - STEPS], MODEL_PCC)


def decode(model: Model, step: int) -> torch.Tensor:
    positions = torch.tensor([PROMPTS.get(slot, 0) + step for slot in range(USERS)])
    return model.decode(torch.stack([sequence(slot)[step - STEPS] for slot in range(USERS)]), positions)


def test_the_8b_model_builds_on_a_dry_n300_and_reports_its_dram(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_31_8B))
    started = time.perf_counter()
    with ttfamily.load(tmp_path, mesh="n300", device="dry", max_batch_size=USERS, max_seq_len=2048) as model:
        elapsed = time.perf_counter() - started
        used, total = model.mesh.dram_bytes()
    assert used == pytest.approx(dram_of_llama_8b(context=2048), rel=0.02)
    assert used < total
    assert elapsed < 60


def dram_of_llama_8b(context: int) -> float:
    """Count the bytes on each of two chips anew, from the config alone."""
    bf16, bfp8 = 2, 1 + 1 / 16  # bytes of an element; 16 elements of BFP8 share an exponent byte
    hidden, wide, chips, banks = 4096, 14336, 2, 12

    def matrix(rows: int, columns: int, size: float) -> float:
        """A weight whose columns are spread over the DRAM banks in whole tiles of 32."""
        return rows * (-(-columns // (32 * banks)) * 32 * banks) * size

    heads = (32 + 8 + 8) * 128 // chips
    layer = matrix(hidden, heads, bf16) + matrix(hidden // chips, hidden, bf16)
    layer += 2 * matrix(hidden, wide // chips, bfp8) + matrix(wide // chips, hidden, bfp8) + 2 * hidden * bf16
    cache = 2 * USERS * context * (8 // chips) * 128 * bf16  # keys and values
    tables = VOCAB * hidden // chips * bf16 + matrix(hidden, VOCAB // chips, bfp8) + 4 * context * 128 * bf16
    return 32 * (layer + cache) + tables + hidden * bf16
