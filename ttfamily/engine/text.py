"""Token ids to text as they come, stopping where they should."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

INCOMPLETE = "\ufffd"  # what a tokenizer shows for half of a character


class TextStream:
    """One request's text: grows token by token, gives out only what can no longer change.

    Held back: half of a multi-byte character, and an end that could become a stop string.

    :param stop: strings that end the text; they are not part of it.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._stop = tuple(stop)
        self._ids: list[int] = []
        self.text = ""
        self._given = 0
        self.stopped = False

    def push(self, token: int) -> str:
        """Add a token; returns the new piece of text that is certain."""
        self._ids.append(token)
        text = self._tokenizer.decode(self._ids, skip_special_tokens=True)
        ends = [text.find(s) for s in self._stop if s in text]
        if ends:
            self.stopped = True
            self.text = text[: min(ends)]
            return self._give(len(self.text))
        self.text = text
        if text.endswith(INCOMPLETE):
            return ""
        held = max((self._overlap(text, s) for s in self._stop), default=0)
        return self._give(len(text) - held)

    def finish(self) -> str:
        """Return what was held back: nothing more will come."""
        return self._give(len(self.text))

    def _give(self, end: int) -> str:
        piece = self.text[self._given : end]
        self._given = max(self._given, end)
        return piece

    @staticmethod
    def _overlap(text: str, stop: str) -> int:
        """How many of the last characters of ``text`` are the beginning of ``stop``."""
        return max((n for n in range(1, len(stop)) if text.endswith(stop[:n])), default=0)
