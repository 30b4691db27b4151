"""Choosing the next token on the host."""

from __future__ import annotations

import attrs
import torch

from ttfamily.errors import RequestError


@attrs.frozen(kw_only=True)
class Sampling:
    """How the next token is drawn, in Hugging Face's terms and order: temperature, top_k, top_p.

    :param temperature: 0 takes the most likely token.
    :param top_k: draw among so many most likely tokens; None for all.
    :param top_p: draw among the most likely tokens that together have this probability; None for all.
    :param seed: makes the draw repeatable; None for a fresh one.
    """

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int | None = None

    def __attrs_post_init__(self) -> None:
        """Check the ranges."""
        for name, value, right, expected in (
            ("temperature", self.temperature, self.temperature >= 0, "0 or more"),
            ("top_k", self.top_k, self.top_k is None or self.top_k >= 1, "1 or more, or None"),
            ("top_p", self.top_p, self.top_p is None or 0 < self.top_p <= 1, "above 0 and at most 1, or None"),
        ):
            if not right:
                raise RequestError(name, got=repr(value), expected=expected, fix="Correct the request.")

    def generator(self) -> torch.Generator:
        """A random source for one request, of its own, so that no other request can change its text."""
        generator = torch.Generator()
        if self.seed is None:
            generator.seed()
        else:
            generator.manual_seed(self.seed)
        return generator


def probabilities(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """``[vocab]`` float32 logits -> the distribution that the next token is drawn from, ``[vocab]``."""
    scores = logits.float() / sampling.temperature
    if sampling.top_k is not None:
        least = scores.topk(min(sampling.top_k, scores.numel())).values[-1]
        scores = scores.masked_fill(scores < least, -torch.inf)
    if sampling.top_p is not None and sampling.top_p < 1:  # a sum of all may round to 1 before its end
        ordered, order = scores.softmax(-1).sort(descending=True)
        beyond = ordered.cumsum(-1) - ordered >= sampling.top_p  # the most likely token always stays
        scores = scores.masked_fill(torch.zeros_like(beyond).scatter(0, order, beyond), -torch.inf)
    return scores.softmax(-1)


def sample(logits: torch.Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """Draw one token id from ``[vocab]`` logits."""
    if sampling.temperature == 0:
        return int(logits.argmax())
    return int(torch.multinomial(probabilities(logits, sampling), 1, generator=generator))
