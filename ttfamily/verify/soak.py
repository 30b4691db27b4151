"""A thousand decode steps of one model, with prompts in between: nothing drifts and no memory is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from ttfamily.testing.equality import assert_same
from ttfamily.verify.invariants import step
from ttfamily.verify.subjects import tokens

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from ttfamily.model import Model

ROUND = 50  # steps after which the same tokens come again at the same positions
PROMPT = 40
BETWEEN = (3, 100, 64, 130, 31)  # lengths of prompts in another slot, one a round


@attrs.frozen(kw_only=True)
class Soak:
    """What a soak has found.

    :param steps: that were run.
    :param drift: the first step whose logits are not those of the first round, and how; empty if there is none.
    :param dram: bytes that were allocated on each chip after the first round, and the most after that.
    """

    steps: int
    drift: str
    dram: tuple[int, int]

    @property
    def right(self) -> bool:
        """Whether nothing drifted, and no memory was lost."""
        return not self.drift and self.dram[0] == self.dram[1]


def soak(model: Model, steps: int, beat: Callable[[int], None]) -> Soak:
    """Decode the same tokens at the same positions, round after round, and compare with the first round, bit for bit.

    What stands in the cache after a user's position changes from round to round: it must not be seen. Neither may
    another slot's prompt, which is read at the beginning of each round.

    :param steps: at the least; whole rounds are run.
    :param beat: called with the number of each step, before it.
    """
    vocab = model.spec.vocab_size
    model.release(0)
    model.prefill(tokens(vocab, PROMPT), 0)
    follow = tokens(vocab, ROUND, seed=2)
    first: list[torch.Tensor] = []
    drift, allocated = "", []
    rounds = max(2, -(-steps // ROUND))
    for number in range(rounds):
        model.prefill(tokens(vocab, BETWEEN[number % len(BETWEEN)], seed=number), 1)
        for place in range(ROUND):
            beat(number * ROUND + place)
            logits = step(model, {0: (int(follow[place]), PROMPT + place)})[0]
            if number == 0:
                first.append(logits)
            elif not drift:
                drift = _difference(logits, first[place], number * ROUND + place)
        allocated.append(model.mesh.dram_bytes()[0])
    return Soak(steps=rounds * ROUND, drift=drift, dram=(allocated[0], max(allocated)))


def _difference(logits: torch.Tensor, first: torch.Tensor, number: int) -> str:
    try:
        assert_same(logits, first, f"step {number}")
    except AssertionError as error:
        return str(error)
    return ""
