"""Calls of ``generate`` that are under way: the requests of each, its texts, and what it took."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ttfamily.engine.engine import Engine
    from ttfamily.engine.request import Output, Request
    from ttfamily.engine.text import TextStream


@attrs.frozen(kw_only=True)
class RunStatistics:
    """What one call of ``generate`` took.

    :param batch: prompts that ran together.
    :param prompt_tokens: of all prompts.
    :param new_tokens: of all prompts.
    :param sequence_length: the longest prompt with its new tokens.
    :param ttft_s: seconds until the first prompt had its first token.
    :param decode_s: seconds spent in decode steps that made a token of this call.
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


class Run:
    """One call of ``generate``.

    :param requests: one for each prompt.
    :param texts: theirs, in the same order.
    """

    def __init__(self, requests: Sequence[Request], texts: Sequence[TextStream]) -> None:
        pairs = zip(requests, texts, strict=True)
        self.lines = [Line(index, request, text) for index, (request, text) in enumerate(pairs)]
        self.by_request: dict[int, Line] = {}
        self.pieces: deque[tuple[int, str]] = deque()  # what has come, and is not given out yet
        self._started = time.perf_counter()
        self._ttft = self._decode_s = 0.0
        self._decode_steps = 0

    @property
    def ended(self) -> bool:
        """Whether no prompt will have another token."""
        return all(line.ended for line in self.lines)

    def start(self, engine: Engine) -> None:
        """Add the requests to an engine."""
        self._started = time.perf_counter()
        for line in self.lines:
            self.by_request[engine.add(line.request)] = line

    def take(self, outputs: Sequence[Output], engine: Engine, decode_steps: int, decode_s: float) -> None:
        """Take the tokens that a step made for this call, and end what a stop string ends.

        :param decode_steps: that the step ran.
        :param decode_s: seconds that those took.
        """
        self._ttft = self._ttft or time.perf_counter() - self._started
        self._decode_steps += decode_steps
        self._decode_s += decode_s
        for output in outputs:
            line = self.by_request[output.request]
            piece = line.take(output)
            if piece:
                self.pieces.append((line.index, piece))
            if line.ended:
                engine.cancel(output.request)

    def statistics(self) -> RunStatistics:
        """What it took so far."""
        return RunStatistics(
            batch=len(self.lines),
            prompt_tokens=sum(len(line.request.tokens) for line in self.lines),
            new_tokens=sum(line.new_tokens for line in self.lines),
            sequence_length=max(len(line.request.tokens) + line.new_tokens for line in self.lines),
            ttft_s=self._ttft,
            decode_s=self._decode_s,
            decode_steps=self._decode_steps,
        )


class Runs:
    """All calls on one engine: whichever is read runs the engine's next step, and each gets what is its own.

    Calls may be read in turns or from several threads: a lock lets one at a time use the engine.

    :ivar lock: to be held by whoever else uses the engine.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._under_way: list[Run] = []
        self.lock = threading.RLock()

    def stream(
        self, run: Run, require_open: Callable[[], None], on_end: Callable[[Run], None]
    ) -> Iterator[tuple[int, str]]:
        """Yield a call's pieces of text, (index, piece), as they come.

        Its requests join the engine when the first piece is asked for. When the last was given, or the caller closes
        the stream, they end, and their slots and blocks are free.

        :param require_open: raises if the model cannot be used any more; called before every piece.
        :param on_end: called when no more will come.
        """
        with self.lock:
            require_open()
            self._under_way.append(run)
        try:
            with self.lock:
                run.start(self._engine)
            while (piece := self._next(run, require_open)) is not None:
                yield piece
        finally:
            with self.lock:
                for request in run.by_request:
                    self._engine.cancel(request)
                self._under_way.remove(run)
                on_end(run)

    def _next(self, run: Run, require_open: Callable[[], None]) -> tuple[int, str] | None:
        with self.lock:
            require_open()
            while not run.pieces and not run.ended:
                self._step()
            return run.pieces.popleft() if run.pieces else None

    def _step(self) -> None:
        engine = self._engine
        steps, seconds = engine.decode_steps, engine.decode_s
        outputs = engine.step()
        for run in self._under_way.copy():
            own = [output for output in outputs if output.request in run.by_request]
            if own:
                run.take(own, engine, engine.decode_steps - steps, engine.decode_s - seconds)
