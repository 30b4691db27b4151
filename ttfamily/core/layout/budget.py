"""What a model takes of a chip's DRAM, and the longest context that fits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from ttfamily.core.layout.plan import PAGE_STEP

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@attrs.frozen(kw_only=True)
class Budget:
    """Bytes of DRAM on each chip, as the blocks of a model say.

    :param weights: by slot.
    :param context: what grows with the context and the users: the cache, tables, pages.
    :param running: what running the model allocates at the most: logits that are kept, activations.
    """

    weights: Mapping[str, int]
    context: Mapping[str, int]
    running: Mapping[str, int]

    @property
    def total(self) -> int:
        """All of it."""
        return sum(sum(parts.values()) for parts in (self.weights, self.context, self.running))


def longest_context(budget: Callable[[int], Budget], limit: int, dram_bytes: int) -> int:
    """Return the tokens that every user may have, up to ``limit``; 0 if not even one step of the cache fits.

    :param budget: of a context of so many tokens.
    :param dram_bytes: of one chip, the trace region not among them.
    """

    def total(tokens: int) -> int:
        return budget(tokens).total

    most = total(limit)
    if most <= dram_bytes:
        return limit
    least = total(min(PAGE_STEP, limit))
    if least > dram_bytes:
        return 0
    low, high = 1, -(-limit // PAGE_STEP)  # in steps; ``low`` fits, ``high`` does not
    while high - low > 1:
        # Nearly all of it grows in proportion, so this finds the place, and the next guess is beside it.
        guess = low + (dram_bytes - least) * (high - low) // (most - least)
        middle = min(max(guess, low + 1), high - 1)
        size = total(middle * PAGE_STEP)
        if size <= dram_bytes:
            low, least = middle, size
        else:
            high, most = middle, size
    return low * PAGE_STEP
