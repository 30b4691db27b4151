from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from transformers import LlamaConfig

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from transformers import PretrainedConfig

LLAMA_8B: dict[str, Any] = {
    "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 131072,
}  # fmt: skip
# Two layers whose cache is the most of it, so that a few thousand tokens for each user fill a chip.
SMALL: dict[str, Any] = {
    "vocab_size": 1000, "hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 2,
    "num_attention_heads": 32, "num_key_value_heads": 32, "head_dim": 256, "max_position_embeddings": 131072,
}  # fmt: skip


NAMED = {"8b": LLAMA_8B, "small": SMALL}


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Make a folder that holds a config, and no weights: one of those above with changes, or any."""

    def make(config: PretrainedConfig | str, **changes: Any) -> Path:
        if isinstance(config, str):
            config = LlamaConfig(**NAMED[config], architectures=["LlamaForCausalLM"])
        (tmp_path / "config.json").write_text(json.dumps(config.to_dict() | changes))
        return tmp_path

    return make
