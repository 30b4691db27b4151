"""What a caller may ask of a model: every input checked before anything runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ttfamily.errors import RequestError

if TYPE_CHECKING:
    from ttfamily.core.layout.plan import Plan


def prompt(plan: Plan, tokens: torch.Tensor) -> None:
    """Check one prompt, ``[n]`` token ids.

    :raises RequestError: if it is empty, longer than ``max_seq_len``, or has ids outside the vocabulary.
    """
    if tokens.dim() != 1 or not 1 <= len(tokens) <= plan.max_seq_len:
        raise RequestError(
            "prompt",
            got=f"{len(tokens)} tokens" if tokens.dim() == 1 else f"a tensor of shape {list(tokens.shape)}",
            expected=f"1 to {plan.max_seq_len} tokens in one dimension, the max_seq_len that the model was loaded with",
            fix="Shorten the prompt, or load the model with a larger max_seq_len.",
        )
    token_ids(plan, tokens)


def token_ids(plan: Plan, tokens: torch.Tensor) -> None:
    """Check that all are integers within the vocabulary.

    :raises RequestError: if one is not.
    """
    _integers("tokens", tokens)
    beyond = tokens[(tokens < 0) | (tokens >= plan.spec.vocab_size)]
    if beyond.numel():
        raise RequestError(
            "tokens",
            got=f"the id {beyond[0].item()}",
            expected=f"ids from 0 to {plan.spec.vocab_size - 1}",
            fix="Use the checkpoint's own tokenizer.",
        )


def slot(plan: Plan, number: int) -> None:
    """Check a slot's number.

    :raises RequestError: if there is no such slot.
    """
    if not 0 <= number < plan.max_batch_size:
        expected = f"0 to {plan.max_batch_size - 1}"
        raise RequestError("slot", got=str(number), expected=expected, fix="Use a slot that the model has.")


def step(plan: Plan, tokens: torch.Tensor, positions: torch.Tensor) -> None:
    """Check the inputs of a decode step, both ``[max_batch_size]``.

    :raises RequestError: if a shape, a position or the token of an occupied slot is wrong.
    """
    users = plan.max_batch_size
    for name, values in (("tokens", tokens), ("positions", positions)):
        _integers(name, values)
        if tuple(values.shape) != (users,):
            raise RequestError(
                name,
                got=f"shape {list(values.shape)}",
                expected=f"[{users}], one entry for every slot",
                fix="Give an empty slot the position -1.",
            )
    beyond = positions[(positions < -1) | (positions >= plan.max_seq_len)]
    if beyond.numel():
        raise RequestError(
            "positions",
            got=str(beyond[0].item()),
            expected=f"-1 (an empty slot) to {plan.max_seq_len - 1}",
            fix="End the request there, or load the model with a larger max_seq_len.",
        )
    token_ids(plan, tokens[positions >= 0])


def _integers(name: str, values: torch.Tensor) -> None:
    if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
        raise RequestError(name, got=str(values.dtype), expected="an integer tensor", fix="Convert it.")
