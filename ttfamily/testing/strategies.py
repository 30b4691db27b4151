"""Hypothesis strategies: prompts, batches, positions and page tables, over the ranges that the core promises.

Sizes are mostly small, so that a test is quick, and now and then as large as they may be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import torch
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy

STEP = 32
SEEDS = st.integers(0, 2**31 - 1)
DEFAULT_EXAMPLES = 100  # of hypothesis' own default profile


def examples(count: int) -> settings:
    """Settings of a test whose examples take seconds: ``count`` where the profile has 100, and in proportion.

    A failing example is reported as it was drawn: shrinking it would take minutes, and most are small as they are.
    """
    return settings(
        max_examples=share_of(count),
        phases=(Phase.explicit, Phase.reuse, Phase.generate),
        deadline=None,  # it would measure the machine, and a mesh's first program
        suppress_health_check=(HealthCheck.too_slow, HealthCheck.differing_executors, HealthCheck.data_too_large),
    )


def share_of(count: int) -> int:
    """Return how many examples the profile gives a test that has ``count`` of the default profile's 100."""
    return max(1, settings().max_examples * count // DEFAULT_EXAMPLES)


def mostly_small(least: int, common: int, most: int) -> SearchStrategy[int]:
    """Integers from ``least`` to ``most``, three in four of them up to ``common``."""
    most = max(least, most)
    small = st.integers(least, max(least, min(common, most)))
    return st.one_of(small, small, small, st.integers(least, most))


def multiples(least: int, common: int, most: int) -> SearchStrategy[int]:
    """Multiples of 32 in the same way; the bounds are multiples of 32 or are rounded down."""
    return mostly_small(least // STEP, common // STEP, most // STEP).map(lambda n: n * STEP)


def lengths(longest: int = 512) -> SearchStrategy[int]:
    """Lengths of prompts in tokens, 1 to ``longest``, few of them multiples of 32."""
    return mostly_small(1, min(100, longest), longest)


@st.composite
def prompts(draw: DrawFn, *, vocab_size: int, longest: int = 512) -> torch.Tensor:
    """Token ids, ``[n]`` int64."""
    return random_tokens(vocab_size, draw(lengths(longest)), draw(SEEDS))


def random_tokens(vocab_size: int, count: int, seed: int) -> torch.Tensor:
    """``[count]`` int64 token ids, the same for the same seed."""
    return torch.randint(0, vocab_size, (count,), generator=torch.Generator().manual_seed(seed))


@attrs.frozen(kw_only=True)
class Batch:
    """Slots, and how many tokens each holds.

    :param tokens: one entry for each slot; 0 for an empty one.
    """

    tokens: tuple[int, ...]

    @property
    def slots(self) -> list[int]:
        """The slots that hold something."""
        return [slot for slot, count in enumerate(self.tokens) if count]


@st.composite
def batches(draw: DrawFn, *, users: int = 32, longest: int = 512, different: int = 3) -> Batch:
    """1 to ``users`` slots, some of them empty but not all, each with its own length.

    :param different: the most distinct lengths, since each padded length compiles programs of its own.
    """
    size = draw(mostly_small(1, 6, users))
    counts = draw(st.lists(lengths(longest), min_size=1, max_size=different))
    tokens = draw(st.lists(st.sampled_from([0, *counts, *counts]), min_size=size, max_size=size))
    first = draw(st.integers(0, size - 1))
    tokens[first] = tokens[first] or counts[0]
    return Batch(tokens=tuple(tokens))


def page_table(batch: Batch, *, pages: int, blocks: int, seed: int, more: int = 1) -> torch.Tensor:
    """Give a batch blocks in random order, for what it holds and ``more`` tokens each.

    :param blocks: how many blocks there are; block 0 has no owner.
    :returns: ``[slots, pages]`` int32, -1 after a slot's last block.
    """
    shuffled = (1 + torch.randperm(blocks - 1, generator=torch.Generator().manual_seed(seed))).tolist()
    table = torch.full((len(batch.tokens), pages), -1, dtype=torch.int32)
    for slot in batch.slots:
        owned = -(-(batch.tokens[slot] + more) // STEP)
        table[slot, :owned] = torch.tensor([shuffled.pop() for _ in range(owned)], dtype=torch.int32)
    return table
