"""The generation loop: prefill every prompt into a slot, then decode all slots together until each has ended."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import attrs
import torch

from ttfamily.engine.sampling import Sampling, sample
from ttfamily.engine.text import TextStream
from ttfamily.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ttfamily.model import Model


@attrs.frozen(kw_only=True)
class RunStatistics:
    """What one call of ``generate`` took.

    :param batch: prompts that ran together.
    :param prompt_tokens: of all prompts.
    :param new_tokens: of all prompts.
    :param sequence_length: the longest prompt with its new tokens.
    :param ttft_s: seconds until the first prompt had its first token.
    :param decode_s: seconds spent in decode steps.
    :param decode_steps: how many there were.
    """

    batch: int
    prompt_tokens: int
    new_tokens: int
    sequence_length: int
    ttft_s: float
    decode_s: float
    decode_steps: int

    @property
    def tokens_per_s_user(self) -> float:
        """Tokens a second that one user sees: 1 / latency of a decode step; 0 if there was none."""
        return self.decode_steps / self.decode_s if self.decode_s else 0.0

    @property
    def tokens_per_s(self) -> float:
        """Tokens a second of all users together, in decode; 0 if there was no step."""
        return (self.new_tokens - self.batch) / self.decode_s if self.decode_s else 0.0


@attrs.define
class Request:
    """One prompt on its way: its slot is its place in the batch."""

    ids: list[int]
    stream: TextStream
    random: torch.Generator
    new: list[int] = attrs.field(factory=list)
    done: bool = False


def run(
    model: Model,
    prompts: Sequence[list[int]],
    *,
    sampling: Sequence[Sampling],
    stop: Sequence[str],
    max_new_tokens: int,
) -> Iterator[tuple[int, str]]:
    """Generate for all prompts at once; yields (prompt's index, piece of text) as they come.

    Sets ``model.last_run`` when the last piece has been given.

    :param sampling: one for each prompt.
    :raises RequestError: if there is not one sampling for each prompt, or no new token is asked for.
    """
    if len(sampling) != len(prompts):
        expected = f"one for all prompts, or {len(prompts)}: one each"
        raise RequestError("seed", got=f"{len(sampling)} seeds", expected=expected, fix="Correct the request.")
    if max_new_tokens < 1:
        raise RequestError("max_new_tokens", got=str(max_new_tokens), expected="1 or more", fix="Correct the request.")
    streams = [TextStream(model.tokenizer, [s for s in stop if s]) for _ in prompts]
    requests = [Request(*parts) for parts in zip(prompts, streams, (s.generator() for s in sampling), strict=True)]
    return _run(model, requests, sampling, max_new_tokens)


def _run(
    model: Model, requests: list[Request], sampling: Sequence[Sampling], max_new_tokens: int
) -> Iterator[tuple[int, str]]:
    started = time.perf_counter()
    ttft = decode_s = 0.0
    steps = 0
    try:
        for slot, request in enumerate(requests):
            first = sample(model.prefill(torch.tensor(request.ids), slot), sampling[slot], request.random)
            ttft = ttft or time.perf_counter() - started
            yield from _accept(model, slot, request, first, max_new_tokens)
        while not all(request.done for request in requests):
            before = time.perf_counter()
            logits = model.decode(*_inputs(model, requests))
            drawn = [
                None if r.done else sample(logits[slot], sampling[slot], r.random) for slot, r in enumerate(requests)
            ]
            decode_s += time.perf_counter() - before
            steps += 1
            for slot, token in enumerate(drawn):
                if token is not None:
                    yield from _accept(model, slot, requests[slot], token, max_new_tokens)
    finally:
        for slot in range(len(requests)):
            model.release(slot)
        model.last_run = RunStatistics(
            batch=len(requests),
            prompt_tokens=sum(len(r.ids) for r in requests),
            new_tokens=sum(len(r.new) for r in requests),
            sequence_length=max(len(r.ids) + len(r.new) for r in requests),
            ttft_s=ttft,
            decode_s=decode_s,
            decode_steps=steps,
        )


def _accept(model: Model, slot: int, request: Request, token: int, max_new_tokens: int) -> Iterator[tuple[int, str]]:
    """Take a drawn token: end the request, or give out the text that it makes certain."""
    request.new.append(token)
    piece = ""
    if token in model.eos_token_ids:
        request.done = True
    else:
        piece = request.stream.push(token)
        full = len(request.ids) + len(request.new) >= model.plan.max_seq_len
        request.done = request.stream.stopped or full or len(request.new) >= max_new_tokens
    if request.done:
        piece += request.stream.finish()
    if piece:
        yield slot, piece


def _inputs(model: Model, requests: Sequence[Request]) -> tuple[torch.Tensor, torch.Tensor]:
    users = model.plan.max_batch_size
    tokens, positions = torch.zeros(users, dtype=torch.int32), torch.full((users,), -1, dtype=torch.int32)
    for slot, request in enumerate(requests):
        if not request.done:
            tokens[slot] = request.new[-1]
            positions[slot] = len(request.ids) + len(request.new) - 1
    return tokens, positions
