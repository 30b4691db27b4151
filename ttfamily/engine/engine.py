"""The requests' side: slots, blocks, what runs next, random states, ends. It knows tokens, not text."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Protocol

import torch

from ttfamily.engine import checks
from ttfamily.engine.checks import Limits
from ttfamily.engine.inputs import DecodeBatch, PromptChunk
from ttfamily.engine.pool import BlockPool
from ttfamily.engine.request import Running
from ttfamily.engine.sampling import sample
from ttfamily.engine.scheduler import Scheduler
from ttfamily.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ttfamily.engine.request import Output, Request
    from ttfamily.engine.runner import Runner
    from ttfamily.engine.scheduler import Work


class Passes(Protocol):
    """What an engine needs of a runner, as :class:`ttfamily.engine.runner.Runner` has it."""

    def prefill(self, chunk: PromptChunk) -> torch.Tensor | None:
        """Read a chunk; return logits ``[vocab_size]`` of its last token where they are wanted."""

    def decode(self, batch: DecodeBatch) -> torch.Tensor:
        """Decode one token in every slot; return logits ``[slots, vocab_size]``."""


class Engine:
    """Continues requests: any number may wait, as many as there are slots and blocks for run together.

    A request may be added or cancelled at any time. What it gets depends on its own tokens, sampling and seed, never
    on the requests beside it. One thread at a time may use an engine.

    :param limits: of the model.
    :ivar decode_steps: how many there have been.
    :ivar decode_s: seconds that they took.
    """

    def __init__(self, runner: Passes, pool: BlockPool, scheduler: Scheduler, limits: Limits) -> None:
        self.runner, self.pool, self.scheduler, self.limits = runner, pool, scheduler, limits
        self.decode_steps, self.decode_s = 0, 0.0
        self._requests: dict[int, Running] = {}
        self._ids = itertools.count()
        self._in_step = False
        self._cancelled: list[int] = []

    @classmethod
    def on(cls, runner: Runner) -> Engine:
        """An engine with all slots and blocks of the runner's plan."""
        plan = runner.plan
        scheduler = Scheduler(plan.max_batch_size, longest_chunk=plan.prefill_lengths[-1])
        return cls(runner, BlockPool.of(plan), scheduler, Limits.of(plan))

    def add(self, request: Request) -> int:
        """Take a request; it runs from the next step on that has a slot and blocks for it.

        :returns: its id.
        :raises RequestError: if its prompt or ``max_new_tokens`` is out of range, or it needs more blocks than there
            are.
        """
        checks.prompt(self.limits, request.tokens)
        checks.new_tokens(request.max_new_tokens)
        running = Running(next(self._ids), request, request.sampling.generator(), self.limits.max_seq_len)
        if not self.pool.ever_fits(running.most_cached):
            raise RequestError(
                "request",
                got=f"{len(request.tokens)} tokens and {request.max_new_tokens} new ones",
                expected="no more than the blocks of the cache hold",
                fix="Ask for fewer new tokens, or shorten the prompt.",
            )
        self._requests[running.id] = running
        self.scheduler.add(running)
        return running.id

    def step(self) -> list[Output]:
        """Run what is next: chunks of prompts, or one token of every running request.

        :returns: the new tokens, each request's in their order; none if nothing runs, or a prompt has more chunks.
        :raises RequestError: if requests wait for what nobody but the caller can give back: slots held by hand.
        """
        self._in_step = True
        try:
            work = self.scheduler.next(self.pool)  # parts of prompts to read, requests to decode
            self._check_progress(work)
            drawn = [*self._prefill(work), *self._decode(work)]  # (request, token)
            return [self._take(running, token) for running, token in drawn]  # ends, frees, hands out
        finally:
            self._in_step = False
            while self._cancelled:
                self.cancel(self._cancelled.pop())

    def cancel(self, request: int) -> None:
        """End a request without another token, and give its slot and blocks back; one that has ended stays so.

        While a step runs (a finaliser may call this then), the request ends with the step.
        """
        if self._in_step:
            self._cancelled.append(request)
        elif request in self._requests:
            self._end(request)

    @property
    def unfinished(self) -> int:
        """How many requests wait or run."""
        return len(self._requests)

    def hold(self, slot: int) -> None:
        """Keep a slot from requests: the caller runs it by hand, and owns its blocks.

        :raises RequestError: if a request has it.
        """
        self.check_free(slot)
        self.scheduler.held.add(slot)

    def let_go(self, slot: int) -> None:
        """Take a slot that was held, and its blocks, back.

        :raises RequestError: if a request has it.
        """
        self.check_free(slot)
        self.pool.release(slot)
        self.scheduler.held.discard(slot)

    def check_free(self, slot: int) -> None:
        """Make sure that no request has a slot.

        :raises RequestError: if one does.
        """
        if slot in self.scheduler.running:
            raise RequestError(
                f"slot {slot}",
                got="a request that generate() has running in it",
                expected="a slot that is free, or was filled by prefill()",
                fix="Use another slot, or finish or close the stream.",
            )

    def _prefill(self, work: Work) -> Iterator[tuple[Running, int]]:
        for part in work.parts:
            prompt, start = part.running.request.tokens, part.running.cached
            pages = self.pool.row(part.slot)
            logits = self.runner.prefill(PromptChunk.of(prompt, start, part.count, slot=part.slot, pages=pages))
            part.running.cached += part.count
            if logits is not None:
                yield part.running, self._draw(part.running, logits)

    def _decode(self, work: Work) -> Iterator[tuple[Running, int]]:
        if not work.decode:
            return
        before = time.perf_counter()
        tokens = torch.zeros(self.pool.slots, dtype=torch.int32)
        positions = torch.full((self.pool.slots,), -1, dtype=torch.int32)
        for slot, running in work.decode.items():
            tokens[slot], positions[slot] = running.tokens[-1], running.cached
        logits = self.runner.decode(DecodeBatch(tokens=tokens, positions=positions, page_table=self.pool.table))
        for slot, running in work.decode.items():
            running.cached += 1
            yield running, self._draw(running, logits[slot])
        self.decode_steps += 1
        self.decode_s += time.perf_counter() - before

    def _take(self, running: Running, token: int) -> Output:
        output = running.take(token)
        if output.ended:
            self._end(running.id)
        return output

    def _end(self, request: int) -> None:
        self.scheduler.remove(self._requests.pop(request), self.pool)

    def _check_progress(self, work: Work) -> None:
        if self._requests and not work.parts and not work.decode:
            raise RequestError(
                "generate",
                got=f"{len(self._requests)} prompts that wait while slots held by prefill() have what they need",
                expected=f"a free slot, of {self.pool.slots}, and free blocks",
                fix="Give slots back with release().",
            )

    @staticmethod
    def _draw(running: Running, logits: torch.Tensor) -> int:
        return sample(logits, running.request.sampling, running.random)
