"""What the engine is asked for, what it hands out, and a request on its way between the two."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

import attrs

from ttfamily.engine.sampling import Sampling

if TYPE_CHECKING:
    from collections import deque

    import torch

End = Literal["stop_token", "max_new_tokens", "context"]


@attrs.frozen(kw_only=True)
class Request:
    """A prompt to continue, in tokens.

    :param tokens: of the prompt.
    :param sampling: how each new token is chosen.
    :param max_new_tokens: the most tokens to add, 1 or more.
    :param stop_tokens: ids that end the text; the one that does is handed out as the last token.
    """

    tokens: tuple[int, ...]
    sampling: Sampling = attrs.field(factory=Sampling)
    max_new_tokens: int
    stop_tokens: frozenset[int] = frozenset()


@attrs.frozen(kw_only=True, eq=False)
class Pass:
    """A pass through the model that made tokens.

    :param decode: whether it decoded; else it read the end of a prompt.
    :param seconds: that it took, with the draws.
    :param ended_at: by :func:`time.perf_counter`.
    """

    decode: bool
    seconds: float
    ended_at: float

    @classmethod
    def since(cls, began_at: float, *, decode: bool) -> Pass:
        """One that has just ended."""
        now = time.perf_counter()
        return cls(decode=decode, seconds=now - began_at, ended_at=now)


@attrs.frozen(kw_only=True)
class Output:
    """A new token of a request.

    :param request: its id.
    :param ended: why this is its last one: ``stop_token`` (this is one), ``max_new_tokens``, or ``context`` (prompt
        and new tokens are ``max_seq_len`` together); None if more will come.
    :param made_by: the pass, one for all tokens of a decode step.
    """

    request: int
    token: int
    ended: End | None
    made_by: Pass


@attrs.define(eq=False)
class Running:
    """A request between :meth:`Engine.add` and its end.

    :param random: what its tokens are drawn with, its own.
    :param max_seq_len: of the model.
    :param inbox: of whoever added it; None if its tokens are for whoever calls :meth:`Engine.step`.
    :ivar tokens: of the prompt, and the new ones.
    :ivar cached: how many of them stand in the cache.
    """

    id: int
    request: Request
    random: torch.Generator
    max_seq_len: int
    inbox: deque[Output] | None = None
    tokens: list[int] = attrs.field(init=False)
    cached: int = attrs.field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        """Begin with the prompt."""
        self.tokens = list(self.request.tokens)

    @property
    def in_prompt(self) -> bool:
        """Whether some of the prompt is not in the cache yet."""
        return self.cached < len(self.request.tokens)

    @property
    def most_cached(self) -> int:
        """The most tokens that the cache will hold of it: its last token is never read."""
        return min(len(self.request.tokens) + self.request.max_new_tokens - 1, self.max_seq_len)

    def take(self, token: int, made_by: Pass) -> Output:
        """Add a drawn token; says whether it was the last."""
        self.tokens.append(token)
        ended: End | None = None
        if token in self.request.stop_tokens:
            ended = "stop_token"
        elif len(self.tokens) - len(self.request.tokens) >= self.request.max_new_tokens:
            ended = "max_new_tokens"
        elif len(self.tokens) >= self.max_seq_len:
            ended = "context"
        return Output(request=self.id, token=token, ended=ended, made_by=made_by)
