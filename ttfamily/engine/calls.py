"""Calls of ``generate`` that are under way: the requests of each, its texts, and what it took."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING

import attrs

from ttfamily.engine.statistics import RunStatistics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ttfamily.engine.engine import Engine
    from ttfamily.engine.request import Output, Pass, Request
    from ttfamily.engine.text import TextStream


@attrs.define(eq=False)
class Line:
    """One prompt of a call: its request, its text, and whether more will come."""

    index: int
    request: Request
    text: TextStream
    new_tokens: int = 0
    ended: bool = False

    def take(self, output: Output) -> str:
        """Take a new token; returns the text that it makes certain."""
        self.new_tokens += 1
        piece = "" if output.ended == "stop_token" else self.text.push(output.token)
        self.ended = output.ended is not None or self.text.stopped
        return piece + self.text.finish() if self.ended else piece


class Call:
    """One call of ``generate``.

    :param requests: one for each prompt.
    :param texts: theirs, in the same order.
    """

    def __init__(self, requests: Sequence[Request], texts: Sequence[TextStream]) -> None:
        pairs = zip(requests, texts, strict=True)
        self.lines = [Line(index, request, text) for index, (request, text) in enumerate(pairs)]
        self.by_request: dict[int, Line] = {}
        self.pieces: deque[tuple[int, str]] = deque()  # what has come, and is not given out yet
        self._inbox: deque[Output] = deque()
        self._started = time.perf_counter()
        self._ttft = self._decode_s = 0.0
        self._decode_steps = self._first_tokens = 0
        self._last_pass: Pass | None = None

    @property
    def ended(self) -> bool:
        """Whether no prompt will have another token."""
        return all(line.ended for line in self.lines)

    def start(self, engine: Engine) -> None:
        """Add the requests to an engine."""
        self._started = time.perf_counter()
        for line in self.lines:
            self.by_request[engine.add(line.request, self._inbox)] = line

    def take(self, engine: Engine) -> None:
        """Take the tokens that have come for this call, and end what a stop string ends."""
        while self._inbox:
            output = self._inbox.popleft()
            line = self.by_request[output.request]
            if line.ended:  # by a stop string, while steps that others ran went on
                continue
            self._count(output.made_by)
            piece = line.take(output)
            if piece:
                self.pieces.append((line.index, piece))
            if line.ended:
                engine.cancel(output.request)

    def _count(self, made_by: Pass) -> None:
        self._ttft = self._ttft or made_by.ended_at - self._started
        if not made_by.decode:
            self._first_tokens += 1
        elif made_by is not self._last_pass:  # a decode step makes one token of every prompt
            self._decode_steps += 1
            self._decode_s += made_by.seconds
        self._last_pass = made_by

    def statistics(self) -> RunStatistics:
        """What it took so far."""
        return RunStatistics(
            batch=len(self.lines),
            prompt_tokens=sum(len(line.request.tokens) for line in self.lines),
            new_tokens=sum(line.new_tokens for line in self.lines),
            first_tokens=self._first_tokens,
            sequence_length=max(len(line.request.tokens) + line.new_tokens for line in self.lines),
            ttft_s=self._ttft,
            decode_s=self._decode_s,
            decode_steps=self._decode_steps,
        )


class Calls:
    """All calls on one engine: whichever is read runs the engine's next step, and each gets what is its own.

    Calls may be read in turns or from several threads: a lock lets one at a time use the engine. A step puts the
    tokens of each call into that call's inbox; it reads them when it is read itself, so that an error or an interrupt
    on the way to text concerns one call. One that nobody reads goes on while others are read: it stops at a stop
    string only when it is read.

    :ivar lock: to be held by whoever else uses the engine.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.lock = threading.RLock()

    def stream(
        self, call: Call, require_open: Callable[[], None], on_end: Callable[[Call], None]
    ) -> Iterator[tuple[int, str]]:
        """Yield a call's pieces of text, (index, piece), as they come.

        Its requests join the engine when the first piece is asked for. When the last was given, or the caller closes
        the stream, they end, and their slots and blocks are free.

        :param require_open: raises if the model cannot be used any more; called before every piece.
        :param on_end: called when no more will come.
        """
        with self.lock:
            require_open()
        try:
            with self.lock:
                call.start(self._engine)
            while (piece := self._next(call, require_open)) is not None:
                yield piece
        finally:
            with self.lock:
                for request in call.by_request:
                    self._engine.cancel(request)
                on_end(call)

    def _next(self, call: Call, require_open: Callable[[], None]) -> tuple[int, str] | None:
        with self.lock:
            require_open()
            call.take(self._engine)
            while not call.pieces and not call.ended:
                self._engine.advance()
                call.take(self._engine)
            return call.pieces.popleft() if call.pieces else None
