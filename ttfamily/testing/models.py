"""Hugging Face models with random weights that are worth comparing with, and their checkpoints."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from torch.overrides import TorchFunctionMode
from transformers import AutoModelForCausalLM
from transformers.utils import logging

import ttfamily

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import PretrainedConfig, PreTrainedModel

    from ttfamily.core.mesh.mesh import Mesh
    from ttfamily.model import Model


def make_model(config: PretrainedConfig, seed: int = 0, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """Make the causal language model of a config, whose weights are random bfloat16 numbers, as a checkpoint's are.

    Every projection keeps the scale of what it is given, so that attention scores and logits have
    a spread near 1: neither uniform nor one-hot. Norm weights are not 1 and biases not 0.
    """
    with _NoRandomParameters():
        model = AutoModelForCausalLM.from_config(deepcopy(config), dtype=dtype)  # which writes the dtype into it
    model.tie_weights()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            fill(name, parameter, generator)
    return model.eval().requires_grad_(requires_grad=False)


class _NoRandomParameters(TorchFunctionMode):
    """While a model is made: parameters are not filled with random numbers, which takes most of the time.

    Everything else is as transformers makes it, so that what a module computes from the config is there.
    """

    RANDOM = ("normal_", "uniform_", "kaiming_uniform_")  # of tensors, of torch.nn.init

    def __torch_function__(
        self, function: Any, _types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        filled = args[0] if args else (kwargs or {}).get("tensor")
        if getattr(function, "__name__", "") in self.RANDOM and isinstance(filled, torch.nn.Parameter):
            return filled
        return function(*args, **(kwargs or {}))


def fill(name: str, parameter: torch.Tensor, generator: torch.Generator) -> None:
    """Fill one parameter in place, ``[out_features, in_features]``, ``[experts, ..., ...]`` or ``[features]``."""
    if parameter.dim() > 1:
        spread = 1.0 if "embed" in name else parameter.shape[-1] ** -0.5
        parameter.normal_(0.0, spread, generator=generator)
    elif name.endswith("bias"):
        parameter.normal_(0.0, 0.3, generator=generator)
    else:
        parameter.uniform_(0.5, 1.5, generator=generator)
    parameter.copy_(parameter.bfloat16())


def save_checkpoint(model: PreTrainedModel, folder: Path) -> Path:
    """Save a model as its users find it, in bfloat16; returns the folder."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        # A tied head is left out, as it would be if the two were still one tensor.
        tied = (model._tied_weights_keys or ()) if model.config.tie_word_embeddings else ()  # noqa: SLF001
        tensors = {name: t.bfloat16() for name, t in model.state_dict().items() if name not in tied}
        model.save_pretrained(folder, state_dict=tensors)
    finally:
        if shown:
            logging.enable_progress_bar()
    return folder


@contextmanager
def loaded(model: PreTrainedModel, mesh: str | Mesh, **options: Any) -> Iterator[Model]:
    """Save a model and load it on a simulated mesh, as a user would.

    :param mesh: a name, or an open mesh, which stays open.
    :param options: of :func:`ttfamily.load`.
    """
    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(model, Path(folder))
        with ttfamily.load(folder, mesh=mesh, device="simulated", **options) as opened:
            yield opened


def config_class_of(architecture: str) -> type[PretrainedConfig]:
    """Return the config class of transformers' model class of this name.

    :raises AssertionError: if transformers has no such class, which leaves nothing to compare with.
    """
    found = getattr(transformers, architecture, None)
    if found is None:
        message = f"transformers {transformers.__version__} has no {architecture}: name one that it has"
        raise AssertionError(message)
    kind: type[PretrainedConfig] = found.config_class
    return kind
