"""What runs next: who gets a slot, whose prompt is read, who decodes."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ttfamily.engine.pool import BlockPool
    from ttfamily.engine.request import Running


@attrs.frozen
class PromptPart:
    """The next ``count`` tokens of a prompt, to be read at once into ``slot``."""

    slot: int
    running: Running
    count: int


@attrs.frozen(kw_only=True)
class Work:
    """One step: parts of prompts to read, then slots to decode one token in, each with its request."""

    parts: tuple[PromptPart, ...] = ()
    decode: Mapping[int, Running] = attrs.field(factory=dict)


class Scheduler:
    """First come, first served; prompts before decode steps.

    A request gets the lowest slot that is free once all blocks are free that it may ever need, so that none has to
    be stopped for want of one. While a prompt is unread, a step reads a chunk of the oldest; else it decodes all.

    :param slots: how many there are.
    :param longest_chunk: the most tokens of a prompt that are read at once.
    :ivar waiting: requests without a slot, the oldest first.
    :ivar running: slot -> request, the oldest first.
    :ivar held: slots that are kept from requests.
    """

    def __init__(self, slots: int, *, longest_chunk: int) -> None:
        self._slots, self._longest_chunk = slots, longest_chunk
        self.waiting: deque[Running] = deque()
        self.running: dict[int, Running] = {}
        self.held: set[int] = set()

    def add(self, request: Running) -> None:
        """Put a request at the end of the queue."""
        self.waiting.append(request)

    def remove(self, request: Running, pool: BlockPool) -> None:
        """Forget a request, and give its slot and its blocks back."""
        slots = [slot for slot, running in self.running.items() if running is request]
        if not slots:
            self.waiting.remove(request)
        for slot in slots:
            del self.running[slot]
            pool.release(slot)

    def next(self, pool: BlockPool) -> Work:
        """Choose the next step; an empty one if nothing can run."""
        while self.waiting and self._admit(self.waiting[0], pool):
            self.waiting.popleft()
        for slot, running in self.running.items():
            if running.in_prompt:
                left = len(running.request.tokens) - running.cached
                return Work(parts=(PromptPart(slot, running, min(left, self._longest_chunk)),))
        return Work(decode=dict(self.running))

    def _admit(self, request: Running, pool: BlockPool) -> bool:
        for slot in range(self._slots):
            if slot not in self.running and slot not in self.held and self._fits(slot, request, pool):
                pool.reserve(slot, request.most_cached)
                self.running[slot] = request
                return True
        return False

    @staticmethod
    def _fits(slot: int, request: Running, pool: BlockPool) -> bool:
        return pool.missing(slot, request.most_cached) <= pool.free(slot)
