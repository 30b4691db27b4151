"""Choosing the next token on the host."""

from __future__ import annotations

import math

import attrs
import torch

from ttfamily.engine.values import SEEDS, integer, real


@attrs.frozen(kw_only=True)
class Sampling:
    """How the next token is drawn, in Hugging Face's terms and order: temperature, top_k, top_p.

    :param temperature: 0 takes the most likely token.
    :param top_k: draw among so many most likely tokens; None for all.
    :param top_p: draw among the most likely tokens that together have this probability; None for all.
    :param seed: makes the draw repeatable; None for a fresh one.
    :raises RequestError: if a value is of another type, not finite, or out of range.
    """

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int | None = None

    def __attrs_post_init__(self) -> None:
        """Check types and ranges."""
        real("temperature", self.temperature, 0, math.inf, "a finite number, 0 or more")
        if self.top_k is not None:
            integer("top_k", self.top_k, 1, None, "an integer, 1 or more, or None")
        if self.top_p is not None:
            real("top_p", self.top_p, math.ulp(0.0), 1, "a number above 0 and at most 1, or None")
        if self.seed is not None:
            least, most = SEEDS.start, SEEDS.stop - 1
            integer("seed", self.seed, least, most, "an integer of up to 64 bits, or None")

    def generator(self) -> torch.Generator:
        """A random source for one request, of its own, so that no other request can change its text."""
        generator = torch.Generator()
        if self.seed is None:
            generator.seed()
        else:
            generator.manual_seed(int(self.seed))
        return generator


def probabilities(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """``[vocab]`` float32 logits -> the distribution that the next token is drawn from, ``[vocab]``.

    Where a temperature is so small that float32 has no scores, the most likely token has all of it.
    """
    scores = logits.float() / float(sampling.temperature)
    if not scores.max().isfinite():
        return torch.zeros_like(scores).index_fill_(0, logits.argmax(), 1.0)
    if sampling.top_k is not None:
        least = scores.topk(min(int(sampling.top_k), scores.numel())).values[-1]
        scores = scores.masked_fill(scores < least, -torch.inf)
    if sampling.top_p is not None and sampling.top_p < 1:  # a sum of all may round to 1 before its end
        ordered, order = scores.softmax(-1).sort(descending=True)
        beyond = ordered.cumsum(-1) - ordered >= float(sampling.top_p)
        beyond[0] = False  # the most likely token always stays
        scores = scores.masked_fill(torch.zeros_like(beyond).scatter(0, order, beyond), -torch.inf)
    return scores.softmax(-1)


def sample(logits: torch.Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """Draw one token id from ``[vocab]`` logits."""
    if sampling.temperature == 0:
        return int(logits.argmax())
    return int(torch.multinomial(probabilities(logits, sampling), 1, generator=generator))
