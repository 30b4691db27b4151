"""One sequence in Hugging Face: whole models, and single modules of them in their place."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch
from transformers import DynamicCache

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import PreTrainedModel

COPIES = 8
BF16_STEP = 2.0**-8
# n tokens, D hidden_size


class Sequence:
    """One user's sequence, with a cache of its own, in the model's dtype; what it returns is float32.

    A single module is compared where it stands: the whole model runs, so that masks, rotary embeddings and
    cache are Hugging Face's own, and the module is given the input of the comparison instead of its own.

    :ivar last: the output of the last call.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.cache = DynamicCache(config=model.config)
        self.last = torch.empty(0)
        self._calls: list[tuple[str, tuple[Any, ...]]] = []
        # Copies of its own: with dynamic scaling a rotary embedding remembers the longest sequence it has seen.
        self._computed = {path: deepcopy(model.get_submodule(path)) for path in computed_modules(model)}

    def logits(self, tokens: torch.Tensor) -> torch.Tensor:
        """Append ``[n]`` tokens; returns the last one's logits, ``[vocab_size]``."""
        self._calls.append(("logits", (tokens,)))
        self.last = self._run(input_ids=tokens.long()[None]).logits[0, -1].float()
        return self.last

    def through(self, path: str, x: torch.Tensor) -> torch.Tensor:
        """Append ``[n, D]`` to the module at ``path``, an attention block or a layer; the output has the same shape.

        :param path: in the model, ``model.layers.0.self_attn``.
        """
        self._calls.append(("through", (path, x)))
        outputs: list[torch.Tensor] = []
        x = x.to(self.model.dtype)

        def enter(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
            return ((x[None], *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": x[None]})

        def leave(_module: Any, _args: Any, output: Any) -> None:
            # A copy: the model may go on with it in place, as Falcon does with what its MLP makes.
            outputs.append((output[0] if isinstance(output, tuple) else output).clone())

        module = self.model.get_submodule(path)
        hooks = [module.register_forward_pre_hook(enter, with_kwargs=True), module.register_forward_hook(leave)]
        try:
            self._run(inputs_embeds=x[None])
        finally:
            for hook in hooks:
                hook.remove()
        self.last = outputs[0].reshape(x.shape).float()
        return self.last

    def kept(self, layer: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the keys and values of a layer, each ``[key/value heads, tokens, head_dim]``.

        With a sliding window they are those of the last tokens only.
        """
        kept = self.cache.layers[layer]
        return kept.keys[0].float(), kept.values[0].float()

    def in_bfloat16(self) -> Iterator[Sequence]:
        """Replay what this sequence was given in each of :func:`bfloat16_copies`: what bfloat16 itself loses."""
        for copy in bfloat16_copies(self.model):
            again = Sequence(copy)
            for method, arguments in self._calls:
                getattr(again, method)(*arguments)
            yield again

    def _run(self, **inputs: torch.Tensor) -> Any:
        model = self.model
        unused = {path: model.get_submodule(path) for path in self._computed}
        try:
            for path, module in self._computed.items():
                model.set_submodule(path, module)
            with torch.no_grad():
                return model(**inputs, past_key_values=self.cache, use_cache=True, logits_to_keep=1)
        finally:
            for path, module in unused.items():
                model.set_submodule(path, module)


def bfloat16_copies(model: PreTrainedModel) -> Iterator[PreTrainedModel]:
    """Make copies in bfloat16 that a rounding tells apart: the model itself, then with weights a rounding away.

    One copy alone says little where two scores are nearly alike: which of them wins is decided by roundings. What is
    computed from the config stays float32, as in a load.
    """
    for number in range(COPIES):
        copy, numbers = deepcopy(model), torch.Generator().manual_seed(number)
        for parameter in copy.parameters():
            noise = 2.0 * torch.rand(parameter.shape, generator=numbers) - 1.0 if number else 0.0
            parameter.data = (parameter.data * (1.0 + BF16_STEP * noise)).bfloat16()
        yield copy


def computed_modules(model: PreTrainedModel) -> list[str]:
    """Paths of the modules that hold only what follows from the config and is in no checkpoint: rotary embeddings."""
    return [
        path
        for path, module in model.named_modules()
        if module._non_persistent_buffers_set and not list(module.parameters())  # noqa: SLF001
    ]
