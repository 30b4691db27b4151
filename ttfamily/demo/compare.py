"""How closely a loaded model follows Hugging Face on the same tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs
import torch
from transformers import AutoModelForCausalLM

from ttfamily.demo.quiet import no_progress_bars
from ttfamily.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LEAST_PCC = 0.99
LEAST_TOP1 = 0.95
LEAST_TOP5 = 0.99
FIRST_CHOICES = 5


class Steps(Protocol):
    """The part of :class:`ttfamily.Model` that a comparison needs."""

    def prefill(self, tokens: torch.Tensor, slot: int) -> torch.Tensor:
        """Read ``[n]`` tokens into ``slot``; return the last one's float32 logits ``[vocab_size]``."""

    def decode(self, tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Read one token a slot; return float32 logits ``[max_batch_size, vocab_size]``."""


@attrs.frozen(kw_only=True)
class Agreement:
    """A model beside Hugging Face in float32, over the same teacher-forced tokens.

    :param prefill_pcc: Pearson correlation of the logits after each prompt.
    :param decode_pcc: Pearson correlation of the logits of all decode steps.
    :param lowest_pcc: that of the single worst token.
    :param top1: the share of tokens at which both have the same first choice.
    :param top5: the share at which the model's first choice is among Hugging Face's first five.
    :param tokens: how many tokens were compared, prompts' last ones included.
    """

    prefill_pcc: float
    decode_pcc: float
    lowest_pcc: float
    top1: float
    top5: float
    tokens: int

    def rows(self) -> Iterator[tuple[str, float, float]]:
        """Yield ``(what, value, least)`` for each number that decides."""
        yield "PCC of the logits, prefill", self.prefill_pcc, LEAST_PCC
        yield "PCC of the logits, decode", self.decode_pcc, LEAST_PCC
        yield "top-1 agreement", self.top1, LEAST_TOP1
        yield "top-5 agreement", self.top5, LEAST_TOP5

    @property
    def passed(self) -> bool:
        """Whether every number that decides reaches its least value (NaN reaches nothing)."""
        return all(value >= least for _, value, least in self.rows())


def compare(model: Steps, folder: Path, tokens: torch.Tensor, *, decode_steps: int, max_batch_size: int) -> Agreement:
    """Return how ``model`` and Hugging Face agree on ``tokens``.

    User ``u`` of ``n`` sits in slot ``u``. Its prompt ends ``decode_steps + u`` tokens before its
    text does, so that every user decodes at a position of its own.

    :param folder: the checkpoint the model was loaded from; Hugging Face reads it in float32.
    :param tokens: ``[users, length]`` int64.
    :param max_batch_size: the number of slots the model was loaded with.
    :raises RequestError: if the slots or the tokens do not suffice.
    """
    users, length = tokens.shape
    _check(users, length, decode_steps, max_batch_size)
    expected = _reference(folder, tokens)  # [users, length, vocab_size]
    starts = length - decode_steps - torch.arange(users)  # [users]  first position to decode

    rows = torch.arange(users)
    prefilled = torch.stack([model.prefill(tokens[u, : starts[u]], u) for u in range(users)])
    decoded = []
    for step in range(decode_steps):
        inputs = torch.zeros(max_batch_size, dtype=torch.int64)
        positions = torch.full((max_batch_size,), -1)
        positions[:users] = starts + step
        inputs[:users] = tokens[rows, starts + step]
        decoded.append(model.decode(inputs, positions)[:users])
    got = torch.stack([prefilled, *decoded], dim=1)  # [users, 1 + decode_steps, vocab_size]
    at = starts[:, None] + torch.arange(-1, decode_steps)  # [users, 1 + decode_steps]
    return agreement(got, expected[rows[:, None], at])


def agreement(got: torch.Tensor, expected: torch.Tensor) -> Agreement:
    """Return how two sets of logits agree.

    Both are ``[users, 1 + decode_steps, vocab_size]``; the first of each user is prefill's.
    """
    choice = got.argmax(-1, keepdim=True)  # [users, 1 + decode_steps, 1]
    choices = expected.topk(FIRST_CHOICES, dim=-1).indices  # [users, 1 + decode_steps, 5]
    return Agreement(
        prefill_pcc=pcc(got[:, 0], expected[:, 0]),
        decode_pcc=pcc(got[:, 1:], expected[:, 1:]),
        lowest_pcc=min(pcc(g, e) for g, e in zip(got.flatten(0, 1), expected.flatten(0, 1), strict=True)),
        top1=(choice == choices[..., :1]).double().mean().item(),
        top5=(choice == choices).any(-1).double().mean().item(),
        tokens=choice.numel(),
    )


def pcc(got: torch.Tensor, expected: torch.Tensor) -> float:
    """Return Pearson's correlation of all elements, computed in float64; NaN if either holds one."""
    return torch.corrcoef(torch.stack([got.double().flatten(), expected.double().flatten()]))[0, 1].item()


def _reference(folder: Path, tokens: torch.Tensor) -> torch.Tensor:
    with no_progress_bars():
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    with torch.inference_mode():
        logits: torch.Tensor = model.eval()(tokens).logits
    return logits


def _check(users: int, length: int, decode_steps: int, max_batch_size: int) -> None:
    if users > max_batch_size:
        raise RequestError(
            "compare",
            got=f"{users} texts",
            expected=f"at most {max_batch_size}, one a slot",
            fix="Compare fewer texts, or load the model with a larger max_batch_size.",
        )
    if length < decode_steps + users:
        raise RequestError(
            "compare",
            got=f"texts of {length} tokens",
            expected=f"at least {decode_steps + users} tokens: {decode_steps} to decode, {users} for staggered prompts",
            fix="Take longer texts, or fewer decode steps.",
        )
