"""Slots that a caller runs by hand, for logits: a prompt into a slot, one token in every such slot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch

from ttfamily.engine import checks
from ttfamily.engine.inputs import DecodeBatch, PromptChunk

if TYPE_CHECKING:
    from ttfamily.engine.engine import Engine


class SlotsByHand:
    """``prefill``, ``decode`` and ``release``, on slots that no request of the engine has.

    A slot that is used here is held: the engine gives it to no request until it is released.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine, self._bounds = engine, engine.bounds

    def prefill(self, tokens: Any, slot: Any) -> torch.Tensor:
        """Read a prompt into a slot, in place of what the slot held.

        :param tokens: integers, as :func:`~ttfamily.engine.checks.integers` takes them.
        :returns: logits of the last token, ``[vocab_size]`` float32.
        :raises RequestError: if the prompt or the slot is out of range, or a request has the slot.
        """
        prompt, number = checks.prompt(self._bounds, tokens), checks.slot(self._bounds, slot)
        engine = self._engine
        with engine.undisturbed():
            engine.hold(number)
            engine.pool.release(number)
            engine.pool.reserve(number, len(prompt))
            pages = engine.pool.row(number)
            for chunk in PromptChunk.all_of(prompt, self._bounds.longest_chunk, slot=number, pages=pages):
                logits = engine.runner.prefill(chunk)
        return cast("torch.Tensor", logits)  # the last chunk has some

    def decode(self, tokens: Any, positions: Any) -> torch.Tensor:
        """Decode one token in every slot whose position is not -1.

        :returns: logits ``[slots, vocab_size]`` float32; NaN for the other slots.
        :raises RequestError: if a shape, a token or a position is out of range, or a request has one of the slots.
        """
        token_ids, places = (torch.tensor(values) for values in checks.step(self._bounds, tokens, positions))
        busy = places >= 0
        slots = busy.nonzero().flatten().tolist()
        engine = self._engine
        with engine.undisturbed():
            for slot in slots:
                engine.check_free(slot)
            for slot in slots:
                engine.hold(slot)
                engine.pool.reserve(slot, int(places[slot]) + 1)
            batch = DecodeBatch(tokens=token_ids.masked_fill(~busy, 0), positions=places, page_table=engine.pool.table)
            return engine.runner.decode(batch).masked_fill_(~busy[:, None], torch.nan)

    def release(self, slot: Any) -> None:
        """Give a slot's cache blocks back; the slot is empty then.

        :raises RequestError: if there is no such slot, or a request has it.
        """
        self._engine.let_go(checks.slot(self._bounds, slot))
