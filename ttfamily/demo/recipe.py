"""What the demo's checkpoint is made of: every number, and the name that follows from them."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

# Part of every name: raised when the code that makes a checkpoint changes what it makes.
VERSION = 1


@attrs.frozen(kw_only=True)
class Recipe:
    """A small Llama and its training.

    The shape asks something of every part of the way: grouped KV heads, a vocabulary that fills
    no whole tile, an untied head, Llama 3.1's rope scaling, weights in two shards.

    :param matrix_rate: peak learning rate of the decoder's matrices (Muon).
    :param other_rate: peak learning rate of embedding, head and norms (AdamW).
    """

    vocab_size: int = 1999
    hidden_size: int = 256
    intermediate_size: int = 512
    num_hidden_layers: int = 4
    num_attention_heads: int = 8
    num_key_value_heads: int = 4
    head_dim: int = 32
    max_position_embeddings: int = 1024
    rope_theta: float = 500_000.0
    rope_factor: float = 8.0
    original_max_position_embeddings: int = 128

    steps: int = 200
    batch_size: int = 8
    sequence_length: int = 128
    matrix_rate: float = 0.02
    other_rate: float = 0.005
    seed: int = 0
    shard_size: str = "4MB"

    def name(self, documents: Sequence[str]) -> str:
        """Return the folder name for a checkpoint of this recipe, trained on ``documents``."""
        recipe = json.dumps([VERSION, attrs.asdict(self), list(documents)], sort_keys=True)
        return f"demo-llama-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
