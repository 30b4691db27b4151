"""The requests' side: slots, blocks, what runs next, random states, ends. It knows tokens, not text."""

from __future__ import annotations

import itertools
import time
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import attrs
import torch

from ttfamily.engine import checks
from ttfamily.engine.checks import Bounds
from ttfamily.engine.inputs import DecodeBatch, PromptChunk
from ttfamily.engine.pool import BlockPool
from ttfamily.engine.request import Pass, Running
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


@attrs.frozen(kw_only=True)
class Reached:
    """How far a step brings a request; the request itself has not changed yet.

    :param cached: how many of its tokens stand in the cache.
    :param token: the new one; None while there is more of the prompt to read.
    :param random: what the next one is drawn with.
    :param made_by: the pass.
    """

    running: Running
    cached: int
    token: int | None
    random: torch.Generator
    made_by: Pass


class Engine:
    """Continues requests: any number may wait, as many as there are slots and blocks for run together.

    A request may be added or cancelled at any time. What it gets depends on its own tokens, sampling and seed, never
    on the requests beside it. One thread at a time may use an engine.

    Several parties may add requests and run steps: a request that was added with an inbox has its tokens put there,
    whoever runs the step; those of all other requests wait for the next caller of :meth:`step`.

    :param bounds: of the model.
    :ivar decode_steps: how many there have been.
    :ivar decode_s: seconds that they took.
    """

    def __init__(self, runner: Passes, pool: BlockPool, scheduler: Scheduler, bounds: Bounds) -> None:
        self.runner, self.pool, self.scheduler, self.bounds = runner, pool, scheduler, bounds
        self.decode_steps, self.decode_s = 0, 0.0
        self._requests: dict[int, Running] = {}
        self._ids = itertools.count()
        self._outputs: list[Output] = []  # of requests without an inbox, not handed out yet
        self._in_use = False
        self._cancelled: deque[int] = deque()

    @classmethod
    def on(cls, runner: Runner) -> Engine:
        """An engine with all slots and blocks of the runner's plan."""
        plan = runner.plan
        scheduler = Scheduler(plan.max_batch_size, longest_chunk=plan.prefill_lengths[-1])
        return cls(runner, BlockPool.of(plan), scheduler, Bounds.of(plan))

    def add(self, request: Request, inbox: deque[Output] | None = None) -> int:
        """Take a request; it runs from the next step on that has a slot and blocks for it.

        :param inbox: where its tokens are put, whoever runs the steps; by default :meth:`step` returns them.
        :returns: its id.
        :raises RequestError: if its prompt or ``max_new_tokens`` is out of range, or it needs more blocks than there
            are.
        """
        checks.prompt(self.bounds, request.tokens)
        checks.new_tokens(request.max_new_tokens)
        running = Running(next(self._ids), request, request.sampling.generator(), self.bounds.max_seq_len, inbox)
        if not self.pool.ever_fits(running.most_cached):
            raise RequestError(
                "request",
                got=f"{len(request.tokens)} tokens and {request.max_new_tokens} new ones",
                expected="no more than the blocks of the cache hold",
                fix="Ask for fewer new tokens, or shorten the prompt.",
            )
        with self.undisturbed():
            self._requests[running.id] = running
            self.scheduler.add(running)
        return running.id

    def step(self) -> list[Output]:
        """Run what is next: chunks of prompts, or one token of every running request.

        A step in which a pass or a draw fails, or is interrupted, changes no request: it can be taken again, and
        gives the same tokens.

        :returns: the new tokens of requests without an inbox, each request's in their order, after those that calls
            of :meth:`advance` have made; none if nothing runs, or a prompt has more chunks.
        :raises RequestError: if requests wait for what nobody but the caller can give back: slots held by hand.
        """
        with self.undisturbed():
            self._advance()
            outputs, self._outputs = self._outputs, []
            return outputs

    def advance(self) -> None:
        """Run a step as :meth:`step` does, for a caller with inboxes: all other tokens stay for :meth:`step`.

        :raises RequestError: as :meth:`step` does.
        """
        with self.undisturbed():
            self._advance()

    def cancel(self, request: int) -> None:
        """End a request without another token, and give its slot and blocks back; one that has ended stays so.

        A finaliser may call this, at any line of the engine: while the engine is in use, the request ends after that.
        """
        self._cancelled.append(request)
        self._end_cancelled()

    @property
    def unfinished(self) -> int:
        """How many requests wait, run, or have tokens that :meth:`step` has not returned yet."""
        self._end_cancelled()
        return len({*self._requests, *(output.request for output in self._outputs)})

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Put off cancellations, which finalisers may ask for at any line, until the end of the block."""
        self._end_cancelled()
        outer, self._in_use = self._in_use, True
        try:
            yield
        finally:
            self._in_use = outer
            self._end_cancelled()

    def hold(self, slot: int) -> None:
        """Keep a slot from requests: the caller runs it by hand, and owns its blocks.

        :raises RequestError: if a request has it.
        """
        with self.undisturbed():
            self.check_free(slot)
            self.scheduler.held.add(slot)

    def let_go(self, slot: int) -> None:
        """Take a slot that was held, and its blocks, back.

        :raises RequestError: if a request has it.
        """
        with self.undisturbed():
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

    def _advance(self) -> None:
        work = self.scheduler.next(self.pool)  # parts of prompts to read, requests to decode
        self._check_progress(work)
        # A pass or a draw may fail or be interrupted, so requests change only after the last of them. Run again,
        # a pass writes the same into the cache.
        for reached in [*self._prefill(work), *self._decode(work)]:
            self._commit(reached)

    def _prefill(self, work: Work) -> list[Reached]:
        read = []
        for part in work.parts:
            before, running = time.perf_counter(), part.running
            prompt, start, pages = running.request.tokens, running.cached, self.pool.row(part.slot)
            logits = self.runner.prefill(PromptChunk.of(prompt, start, part.count, slot=part.slot, pages=pages))
            token, random = (None, running.random) if logits is None else self._draw(running, logits)
            made_by = Pass.since(before, decode=False)
            cached = start + part.count
            read.append(Reached(running=running, cached=cached, token=token, random=random, made_by=made_by))
        return read

    def _decode(self, work: Work) -> list[Reached]:
        if not work.decode:
            return []
        before = time.perf_counter()
        tokens = torch.zeros(self.pool.slots, dtype=torch.int32)
        positions = torch.full((self.pool.slots,), -1, dtype=torch.int32)
        for slot, running in work.decode.items():
            tokens[slot], positions[slot] = running.tokens[-1], running.cached
        logits = self.runner.decode(DecodeBatch(tokens=tokens, positions=positions, page_table=self.pool.table))
        drawn = [(running, *self._draw(running, logits[slot])) for slot, running in work.decode.items()]
        made_by = Pass.since(before, decode=True)
        self.decode_steps += 1
        self.decode_s += made_by.seconds
        return [
            Reached(running=running, cached=running.cached + 1, token=token, random=random, made_by=made_by)
            for running, token, random in drawn
        ]

    @staticmethod
    def _draw(running: Running, logits: torch.Tensor) -> tuple[int, torch.Generator]:
        """Draw a token; returns it, and the random source after it: the request's own stays as it was."""
        random = running.random.clone_state()
        return sample(logits, running.request.sampling, random), random

    def _commit(self, reached: Reached) -> None:
        running = reached.running
        running.cached, running.random = reached.cached, reached.random
        if reached.token is None:
            return
        output = running.take(reached.token, reached.made_by)
        (self._outputs if running.inbox is None else running.inbox).append(output)
        if output.ended:
            self._end(running.id)

    def _end(self, request: int) -> None:
        self.scheduler.remove(self._requests.pop(request), self.pool)

    def _end_cancelled(self) -> None:
        """End what was cancelled, unless the engine is in use: then it is done at the end of that use."""
        if self._in_use:
            return
        self._in_use = True  # a finaliser may ask for another one meanwhile
        try:
            while self._cancelled:
                request = self._cancelled.popleft()
                if request in self._requests:
                    self._end(request)
                self._outputs = [output for output in self._outputs if output.request != request]
        finally:
            self._in_use = False

    def _check_progress(self, work: Work) -> None:
        if self._requests and not work.parts and not work.decode:
            raise RequestError(
                "generate",
                got=f"{len(self._requests)} prompts that wait while slots held by prefill() have what they need",
                expected=f"a free slot, of {self.pool.slots}, and free blocks",
                fix="Give slots back with release().",
            )
