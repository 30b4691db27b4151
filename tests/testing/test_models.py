"""``make_model`` makes any decoder of transformers', as a load of its checkpoint makes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
import transformers
from transformers import LlamaConfig

from ttfamily.testing import make_model, save_checkpoint
from ttfamily.testing.configs import declared_keys
from ttfamily.testing.models import config_class_of
from ttfamily.testing.reference import Sequence

if TYPE_CHECKING:
    from pathlib import Path

DECODERS = """
    Apertus Arcee Bloom CodeGen Cohere Cohere2 Ernie4_5 Exaone4 Falcon GPTBigCode GPTJ GPTNeoX Gemma Gemma2 Gemma3 Glm
    Glm4 GptOss Granite GraniteMoe Helium HunYuanDenseV1 Llama Mistral Mixtral Mpt Nemotron OPT Olmo Olmo2 Olmo3 Olmoe
    Persimmon Phi Phi3 Qwen2 Qwen2Moe Qwen3 Qwen3Moe SmolLM3 StableLm Starcoder2
"""
# By every name that their configs have for them.
SIZES = {
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "word_embed_proj_dim"), 64),
    **dict.fromkeys(("intermediate_size", "ffn_hidden_size", "ffn_dim"), 96),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 32),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads"), 4),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads"), 2),
    **dict.fromkeys(("num_experts", "num_local_experts"), 4),
    **dict.fromkeys(("head_dim", "rotary_dim"), 16),
    "num_experts_per_tok": 2,
    "vocab_size": 99,
    "max_position_embeddings": 64,
    "sliding_window": 8,
    "pad_token_id": 0,
    "eos_token_id": 2,
}


@pytest.fixture(autouse=True)
def _quiet() -> None:
    transformers.utils.logging.disable_progress_bar()


@pytest.mark.parametrize("name", DECODERS.split())
def test_a_made_model_computes_what_its_checkpoint_does(name: str, tmp_path: Path) -> None:
    kind = config_class_of(f"{name}ForCausalLM")
    model = make_model(kind(**{key: value for key, value in SIZES.items() if key in declared_keys(kind)}))
    save_checkpoint(model, tmp_path)
    stored = type(model).from_pretrained(tmp_path, dtype=torch.float32).eval()
    prompt = torch.arange(20)
    logits, wanted = Sequence(model).logits(prompt), Sequence(stored).logits(prompt)
    assert torch.equal(logits, wanted)
    assert 0.5 < float(logits.std()) < 30  # neither all alike nor one token alone; the head may be tied


def test_the_same_seed_makes_the_same_weights_and_another_makes_others() -> None:
    config = LlamaConfig(**{key: value for key, value in SIZES.items() if key in declared_keys(LlamaConfig)})
    before = config.to_dict()
    one, same, other = (make_model(config, seed).state_dict() for seed in (1, 1, 2))
    assert config.to_dict() == before
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not any(torch.equal(one[name], other[name]) for name in one)
    assert all(torch.equal(t, t.bfloat16().float()) for t in one.values())  # as a checkpoint's are


def test_sequences_do_not_disturb_one_another_where_a_module_remembers_the_longest() -> None:
    sizes = {key: value for key, value in SIZES.items() if key in declared_keys(LlamaConfig)}
    rope = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
    model = make_model(LlamaConfig(**{**sizes, "max_position_embeddings": 32, "rope_parameters": rope}))
    short, long = torch.arange(20), torch.arange(60)
    frequencies = model.model.rotary_emb.inv_freq.clone()
    before = Sequence(model).logits(short)
    unfinished = Sequence(model)
    unfinished.logits(long)
    assert torch.equal(Sequence(model).logits(short), before)
    assert torch.equal(model.model.rotary_emb.inv_freq, frequencies)
    assert not torch.equal(unfinished.logits(short), before)
