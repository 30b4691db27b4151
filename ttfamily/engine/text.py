"""Token ids to text as they come, stopping where they should."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

INCOMPLETE = "\ufffd"  # what a tokenizer shows for half of a character
BYTE = re.compile(r"<0x[0-9A-F]{2}>")  # a token that is one byte of a character
# Tokens that are decoded anew before and after the end of the settled text, and when more of it is settled. What a
# token decodes to depends on few tokens beside it; with as many as this, and as many characters, on none further.
CONTEXT = 16
LONGEST = 4 * CONTEXT
CHARACTERS = 8


class TextStream:
    """One request's text: grows token by token, gives out only what can no longer change.

    The text is what the tokenizer makes of all ids together, but only the last few are decoded at every token: the
    text before them is settled. Where a tokenizer does not allow that (the last tokens alone decode to something
    else), more tokens are decoded, up to all of them.

    Held back: half of a multi-byte character, and an end that could become a stop string.

    :param stop: strings that end the text; they are not part of it.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._stop = tuple(stop)
        self._searched_before = max(map(len, self._stop), default=1) - 1  # characters that a stop string may reach back
        self._ids: list[int] = []  # those that are decoded
        self._skip = 0  # characters that the first of them decode to, which are settled
        self._settled = 0  # characters of the text
        self._text, self._start = "", 0  # the end of the text, and where in the text that begins
        self._given = 0
        self.stopped = False

    def push(self, token: int) -> str:
        """Add a token; returns the new piece of text that is certain."""
        self._ids.append(token)
        decoded = self._decode(self._ids)
        self._text = self._text[: self._settled - self._start] + decoded[self._skip :]
        if len(self._ids) > LONGEST:
            self._settle(decoded)
        first = max(0, self._settled - self._searched_before - self._start)
        ends = [end for end in (self._text.find(stop, first) for stop in self._stop) if end >= 0]
        if ends:
            self.stopped = True
            self._text = self._text[: min(ends)]
            return self._give(len(self._text))
        if self._text.endswith(INCOMPLETE):
            return ""
        held = max((overlap(self._text, stop) for stop in self._stop), default=0)
        return self._give(len(self._text) - held)

    def finish(self) -> str:
        """Return what was held back: nothing more will come."""
        return self._give(len(self._text))

    def _give(self, end: int) -> str:
        piece = self._text[self._given - self._start : end]
        self._given = max(self._given, self._start + end)
        return piece

    def _settle(self, decoded: str) -> None:
        """Drop the first ids, if the others decode to the same without them."""
        ids = self._ids[-2 * CONTEXT :]
        if not self._is_text(ids[0]):
            return
        recent, head = self._decode(ids), self._decode(ids[:CONTEXT])
        rest = len(recent) - len(head)  # characters that stay unsettled
        enough = len(head.strip()) >= CHARACTERS and CHARACTERS <= rest <= len(decoded) - self._skip
        if not (enough and recent.startswith(head) and decoded.endswith(recent)):
            return
        self._ids, self._skip = ids, len(head)
        self._settled = self._start + len(self._text) - rest
        start = max(self._start, min(self._given, self._settled - self._searched_before))
        self._text, self._start = self._text[start - self._start :], start

    def _is_text(self, token: int) -> bool:
        """Whether a token stands for text by itself: no byte, whose neighbours decide what it is, and not skipped."""
        name = self._tokenizer.convert_ids_to_tokens(token)
        return bool(name) and not BYTE.fullmatch(name) and bool(self._decode([token]).strip())

    def _decode(self, ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True)
        return text


def overlap(text: str, stop: str) -> int:
    """How many of the last characters of ``text`` are the beginning of ``stop``."""
    end = text[-(len(stop) - 1) :] if len(stop) > 1 else ""
    at = end.find(stop[0])
    while at >= 0 and not stop.startswith(end[at:]):
        at = end.find(stop[0], at + 1)
    return len(end) - at if at >= 0 else 0
