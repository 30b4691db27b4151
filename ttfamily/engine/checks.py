"""What a caller may ask of a model: every input checked before anything runs, and taken as plain Python values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import torch

from ttfamily.engine.values import CORRECT, index, integer, integers, is_sequence, shown
from ttfamily.errors import RequestError
from ttfamily.tokenizer import check_text

if TYPE_CHECKING:
    from ttfamily.core.layout.plan import Plan

PROMPT = "a text, the ids of its tokens, or a list of either"
MOST_STOPS, LONGEST_STOP = 64, 1024  # strings, characters: each is looked for at every token


@attrs.frozen(kw_only=True)
class Bounds:
    """How far a model's numbers go.

    :param slots: users at once.
    :param max_seq_len: tokens of a prompt and its continuation.
    :param longest_chunk: tokens of a prompt that are read at once.
    """

    slots: int
    max_seq_len: int
    vocab_size: int
    longest_chunk: int

    @classmethod
    def of(cls, plan: Plan) -> Bounds:
        """Those of a plan."""
        return cls(
            slots=plan.max_batch_size,
            max_seq_len=plan.max_seq_len,
            vocab_size=plan.spec.vocab_size,
            longest_chunk=plan.prefill_lengths[-1],
        )


# ---- prompts


def prompts(value: object) -> tuple[list[str | list[int]], bool]:
    """Read what ``generate`` is given: one text or its token ids, or several.

    :returns: the prompts, and whether there is one that stands alone, not in a list.
    :raises RequestError: if it is something else.
    """
    if isinstance(value, str):
        return [_unicode("prompt", value)], True
    if isinstance(value, (torch.Tensor, np.ndarray)) and value.ndim > 1:
        value = list(value)
    elif isinstance(value, (torch.Tensor, np.ndarray)):
        return [integers("prompt", value)], True
    if not is_sequence(value):
        raise RequestError("prompt", got=shown(value), expected=PROMPT, fix=CORRECT)
    entries: list[Any] = list(value)
    if not entries:
        raise RequestError("prompt", got="an empty list, 0 tokens", expected=PROMPT, fix=CORRECT)
    if not any(isinstance(entry, (Sequence, np.ndarray)) or _is_row(entry) for entry in entries):
        return [integers("prompt", entries, PROMPT)], True
    return [
        _unicode(f"prompt[{at}]", entry) if isinstance(entry, str) else integers(f"prompt[{at}]", entry, PROMPT)
        for at, entry in enumerate(entries)
    ], False


def _is_row(value: object) -> bool:
    return isinstance(value, torch.Tensor) and value.ndim > 0


def _unicode(who: str, text: str) -> str:
    check_text(who, text)
    return text


def prompt(bounds: Bounds, tokens: object) -> list[int]:
    """Return the token ids of one prompt.

    :raises RequestError: if they are no integers, none, more than ``max_seq_len``, or outside the vocabulary.
    """
    ids = integers("tokens of the prompt", tokens)
    if not 1 <= len(ids) <= bounds.max_seq_len:
        raise RequestError(
            "prompt",
            got=f"{len(ids)} tokens",
            expected=f"1 to {bounds.max_seq_len} tokens, the max_seq_len that the model was loaded with",
            fix="Shorten the prompt, or load the model with a larger max_seq_len." if ids else "Send at least one.",
        )
    _in_vocabulary(bounds, ids)
    return ids


def _in_vocabulary(bounds: Bounds, ids: Sequence[int]) -> None:
    beyond = next((token for token in ids if not 0 <= token < bounds.vocab_size), None)
    if beyond is not None:
        raise RequestError(
            "tokens",
            got=f"the id {beyond}",
            expected=f"ids from 0 to {bounds.vocab_size - 1}",
            fix="Use the checkpoint's own tokenizer.",
        )


# ---- how to continue them


def new_tokens(value: object) -> int:
    """Return ``max_new_tokens``.

    :raises RequestError: if it is no integer, or below 1.
    """
    return integer("max_new_tokens", value, 1, None, "an integer, 1 or more")


def seeds(value: object, count: int) -> list[int | None]:
    """Return a seed, or None, for each of ``count`` prompts.

    :raises RequestError: if it is neither None, an integer, nor as many integers as there are prompts.
    """
    expected = f"an integer: one for all prompts, or {count}: one each"
    if value is None or index(value) is not None:
        return [None if value is None else index(value)] * count
    each = integers("seed", value, expected)
    if len(each) != count:
        raise RequestError("seed", got=f"{len(each)} seeds", expected=expected, fix=CORRECT)
    return list(each)


def stops(value: object) -> tuple[str, ...]:
    """Return the stop strings; empty ones are left out.

    :raises RequestError: if it is neither None, a string, nor a list of strings; or they are too many or too long.
    """
    strings: Sequence[Any] = () if value is None else (value,) if isinstance(value, str) else value  # type: ignore[assignment]
    expected = f"a string, or a list of up to {MOST_STOPS}, each of up to {LONGEST_STOP} characters"
    if not is_sequence(strings):
        raise RequestError("stop", got=shown(value), expected=expected, fix=CORRECT)
    if len(strings) > MOST_STOPS:
        raise RequestError("stop", got=f"{len(strings)} strings", expected=expected, fix=CORRECT)
    for string in strings:
        if not isinstance(string, str):
            raise RequestError("stop", got=shown(string), expected=expected, fix=CORRECT)
        if len(string) > LONGEST_STOP:
            raise RequestError("stop", got=f"one of {len(string)} characters", expected=expected, fix=CORRECT)
    return tuple(filter(None, strings))


# ---- slots


def slot(bounds: Bounds, number: object) -> int:
    """Return a slot's number.

    :raises RequestError: if there is no such slot.
    """
    last = bounds.slots - 1
    return integer("slot", number, 0, last, f"an integer, 0 to {last}", "Use a slot that the model has.")


def step(bounds: Bounds, tokens: object, positions: object) -> tuple[list[int], list[int]]:
    """Return the tokens and the positions of a decode step, one of each for every slot.

    :raises RequestError: if a shape, a position or the token of an occupied slot is wrong.
    """
    each = {
        name: integers(name, values, f"[{bounds.slots}] integers, one for every slot")
        for name, values in (("tokens", tokens), ("positions", positions))
    }
    for name, values in each.items():
        if len(values) != bounds.slots:
            raise RequestError(
                name,
                got=f"shape [{len(values)}]",
                expected=f"[{bounds.slots}], one entry for every slot",
                fix="Give an empty slot the position -1.",
            )
    beyond = next((place for place in each["positions"] if not -1 <= place < bounds.max_seq_len), None)
    if beyond is not None:
        raise RequestError(
            "positions",
            got=str(beyond),
            expected=f"-1 (an empty slot) to {bounds.max_seq_len - 1}",
            fix="End the request there, or load the model with a larger max_seq_len.",
        )
    pairs = zip(each["tokens"], each["positions"], strict=True)
    busy = [token if place >= 0 else 0 for token, place in pairs]  # an empty slot's token is never read
    _in_vocabulary(bounds, busy)
    return busy, each["positions"]
