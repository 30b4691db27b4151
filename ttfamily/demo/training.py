"""Trains the demo's Llama: about a minute on two cores, the same weights on every run of one machine.

The decoder's matrices are trained with Muon, everything else with AdamW: at this size Muon
learns the text in a third of AdamW's time, its extra matmuls included.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from ttfamily.demo.muon import Muon

if TYPE_CHECKING:
    from collections.abc import Callable

    from ttfamily.demo.recipe import Recipe

WARM_UP = 20


def train(
    recipe: Recipe, tokens: torch.Tensor, *, begin: int, end: int, on_step: Callable[[int, float], None]
) -> LlamaForCausalLM:
    """Return a model that knows ``tokens`` by heart.

    :param tokens: ``[n]`` int64, the documents one after the other, each between ``begin`` and ``end``.
    :param begin: the id of the token that starts a document.
    :param end: the id of the token that ends one.
    :param on_step: called after each step with the number of steps done and the loss in nats a token.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = LlamaForCausalLM(_config(recipe, begin, end))
    matrices = [p for name, p in model.named_parameters() if "layers" in name and p.dim() == 2]  # noqa: PLR2004
    others = [p for name, p in model.named_parameters() if "layers" not in name or p.dim() == 1]
    optimizers = {
        Muon(matrices): recipe.matrix_rate,
        torch.optim.AdamW(others, betas=(0.9, 0.95), weight_decay=0.0, fused=True): recipe.other_rate,
    }
    draws = torch.Generator().manual_seed(recipe.seed)
    for step in range(recipe.steps):
        batch = _batch(recipe, tokens, draws)  # [batch_size, sequence_length + 1]
        logits = model(batch[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        slope = min(1.0, (step + 1) / WARM_UP) * (1 - step / recipe.steps)
        for optimizer, rate in optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = rate * slope
            optimizer.step()
            optimizer.zero_grad()
        on_step(step + 1, loss.item())
    return model.eval()


def _batch(recipe: Recipe, tokens: torch.Tensor, draws: torch.Generator) -> torch.Tensor:
    # The text is a ring: without that its first tokens would hardly ever be read.
    starts = torch.randint(len(tokens), (recipe.batch_size, 1), generator=draws)
    return tokens[(starts + torch.arange(recipe.sequence_length + 1)) % len(tokens)]


def _config(recipe: Recipe, begin: int, end: int) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=recipe.vocab_size,
        hidden_size=recipe.hidden_size,
        intermediate_size=recipe.intermediate_size,
        num_hidden_layers=recipe.num_hidden_layers,
        num_attention_heads=recipe.num_attention_heads,
        num_key_value_heads=recipe.num_key_value_heads,
        head_dim=recipe.head_dim,
        max_position_embeddings=recipe.max_position_embeddings,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": recipe.rope_theta,
            "factor": recipe.rope_factor,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": recipe.original_max_position_embeddings,
        },
        tie_word_embeddings=False,
        bos_token_id=begin,
        eos_token_id=end,
    )
