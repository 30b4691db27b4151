"""Every block is free or has one owner, and page tables say which."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttfamily.core.blocks.kv_cache import SPARE
from ttfamily.engine.pool import BlockPool
from ttfamily.errors import RequestError

SLOTS, PAGES, BLOCKS, SIZE = 4, 6, 11, 32
DEEDS = st.lists(st.tuples(st.integers(0, SLOTS - 1), st.integers(0, PAGES * SIZE)), max_size=40)


def owned(pool: BlockPool, slot: int) -> list[int]:
    return [block for block in pool.row(slot).tolist() if block != SPARE]


@given(deeds=DEEDS, replicas=st.sampled_from([1, 2, 4]))
def test_no_block_is_lost_and_none_has_two_owners(deeds: list[tuple[int, int]], replicas: int) -> None:
    pool = BlockPool(SLOTS, PAGES, BLOCKS, block_size=SIZE, replicas=replicas)
    for slot, tokens in deeds:
        before, free = owned(pool, slot), pool.free(slot)
        if not tokens:
            pool.release(slot)
            assert owned(pool, slot) == []
        elif pool.missing(slot, tokens) > free:
            with pytest.raises(RequestError, match=f"slot {slot}: got {tokens} tokens"):
                pool.reserve(slot, tokens)
            assert (owned(pool, slot), pool.free(slot)) == (before, free)
        else:
            pool.reserve(slot, tokens)
            assert len(owned(pool, slot)) == max(len(before), -(-tokens // SIZE))
            assert owned(pool, slot)[: len(before)] == before
        share = SLOTS // replicas
        for replica in range(replicas):
            slots = range(replica * share, (replica + 1) * share)
            blocks = [block for each in slots for block in owned(pool, each)]
            assert len(set(blocks)) == len(blocks) == BLOCKS - 1 - pool.free(slots[0])


def test_a_slot_may_have_as_many_tokens_as_its_row_has_pages() -> None:
    wide, few = BlockPool(1, 6, 100, block_size=64), BlockPool(1, 6, 4, block_size=64)
    assert wide.ever_fits(6 * 64)
    assert not wide.ever_fits(6 * 64 + 1)
    assert few.ever_fits(3 * 64)
    assert not few.ever_fits(3 * 64 + 1)
