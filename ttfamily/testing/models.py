"""Hugging Face models with random weights that are worth comparing with, and their checkpoints."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from transformers import DynamicCache, LlamaForCausalLM

import ttfamily
from ttfamily.core.checkpoint import SINGLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from transformers import LlamaConfig

    from ttfamily.model import Model


def make_llama(config: LlamaConfig, seed: int = 0, dtype: torch.dtype = torch.float32) -> LlamaForCausalLM:
    """Make a model whose weights are random and are bfloat16 numbers, as a checkpoint's are.

    Every projection keeps the scale of what it is given, so that attention scores and logits have
    a spread near 1: neither uniform nor one-hot. Norm weights are not 1 and biases not 0.
    """
    with torch.device("meta"):
        model = LlamaForCausalLM(config).to(dtype)
    model.to_empty(device="cpu")
    model.model.rotary_emb = fresh_rotary(model)  # its frequencies were on the meta device too
    model.tie_weights()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            fill(name, parameter, generator)
    return model.eval().requires_grad_(requires_grad=False)


def fill(name: str, parameter: torch.Tensor, generator: torch.Generator) -> None:
    """Fill one parameter in place, ``[out_features, in_features]`` or ``[features]``."""
    if parameter.dim() > 1:
        spread = 1.0 if "embed" in name else parameter.shape[1] ** -0.5
        parameter.normal_(0.0, spread, generator=generator)
    elif name.endswith("bias"):
        parameter.normal_(0.0, 0.3, generator=generator)
    else:
        parameter.uniform_(0.5, 1.5, generator=generator)
    parameter.copy_(parameter.bfloat16())


def save_checkpoint(model: LlamaForCausalLM, folder: Path) -> Path:
    """Write config.json and model.safetensors, in bfloat16, as ``save_pretrained`` would; returns the folder."""
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    skipped = {"lm_head.weight"} if model.config.tie_word_embeddings else set()
    tensors = {name: t.bfloat16().contiguous() for name, t in model.state_dict().items() if name not in skipped}
    save_file(tensors, folder / SINGLE, metadata={"format": "pt"})
    return folder


@contextmanager
def loaded(model: LlamaForCausalLM, mesh: str, **options: Any) -> Iterator[Model]:
    """Save a model and load it on a simulated mesh, as a user would.

    :param options: of :func:`ttfamily.load`.
    """
    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(model, Path(folder))
        with ttfamily.load(folder, mesh=mesh, device="simulated", **options) as opened:
            yield opened


def fresh_rotary(model: LlamaForCausalLM) -> Any:
    """Return a rotary embedding that has seen no sequence: with dynamic scaling it remembers the longest."""
    return type(model.model.rotary_emb)(model.config)


class Sequence:
    """One user's sequence in Hugging Face, float32, with a cache of its own."""

    def __init__(self, model: LlamaForCausalLM) -> None:
        self.model = model
        self.cache = DynamicCache(config=model.config)
        self._rotary = fresh_rotary(model)

    def logits(self, tokens: torch.Tensor) -> torch.Tensor:
        """Append ``[n]`` tokens; returns the last one's logits, ``[vocab_size]``."""
        self.model.model.rotary_emb = self._rotary
        with torch.no_grad():
            out = self.model(tokens.long()[None], past_key_values=self.cache, use_cache=True, logits_to_keep=1)
        logits: torch.Tensor = out.logits[0, -1]
        return logits

    def through(self, block: Callable[..., Any], x: torch.Tensor) -> torch.Tensor:
        """Append ``[n, hidden_size]`` to an attention block or a decoder layer; the output has the same shape."""
        start = self.cache.get_seq_length()
        positions = torch.arange(start, start + len(x))[None]
        with torch.no_grad():
            angles = self._rotary(x[None], positions)
            out = block(x[None], position_embeddings=angles, attention_mask=None, past_key_values=self.cache)
        values: torch.Tensor = out[0] if isinstance(out, tuple) else out
        return values.reshape(x.shape)

    def kept(self, layer: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the keys and values of a layer, each ``[key/value heads, tokens, head_dim]``."""
        kept = self.cache.layers[layer]
        return kept.keys[0], kept.values[0]
