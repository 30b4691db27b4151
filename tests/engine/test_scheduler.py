"""Who runs next: the oldest prompt first, then all together; who finds no room waits, and nobody overtakes."""

from __future__ import annotations

from tests.engine.fakes import BLOCK, CHUNK, fake_engine
from ttfamily.engine.pool import BlockPool
from ttfamily.engine.request import Request, Running
from ttfamily.engine.scheduler import Scheduler


def running(number: int, prompt: int, new: int = 4) -> Running:
    request = Request(tokens=(1,) * prompt, max_new_tokens=new)
    return Running(number, request, request.sampling.generator(), max_seq_len=1000)


def pool(slots: int = 2, blocks: int = 100) -> BlockPool:
    return BlockPool(slots, 50, blocks, block_size=BLOCK)


def test_a_long_prompt_is_read_in_chunks_and_the_next_one_after_it() -> None:
    scheduler, blocks = Scheduler(2, longest_chunk=CHUNK), pool()
    first, second = running(0, 2 * CHUNK + 3), running(1, 5)
    scheduler.add(first)
    scheduler.add(second)
    seen = []
    while (work := scheduler.next(blocks)).parts:
        (part,) = work.parts
        assert not work.decode
        seen.append((part.slot, part.running.id, part.count))
        part.running.cached += part.count
    assert seen == [(0, 0, CHUNK), (0, 0, CHUNK), (0, 0, 3), (1, 1, 5)]
    assert work.decode == {0: first, 1: second}


def test_a_request_waits_for_a_slot_and_takes_the_one_that_is_given_back() -> None:
    scheduler, blocks = Scheduler(2, longest_chunk=CHUNK), pool()
    requests = [running(number, 3) for number in range(3)]
    for request in requests:
        scheduler.add(request)
    scheduler.next(blocks)
    assert list(scheduler.waiting) == requests[2:]
    scheduler.remove(requests[0], blocks)
    scheduler.next(blocks)
    assert scheduler.running == {1: requests[1], 0: requests[2]}


def test_a_request_waits_for_all_blocks_that_it_may_need_and_is_not_overtaken() -> None:
    scheduler, blocks = Scheduler(3, longest_chunk=CHUNK), pool(3, blocks=1 + 4)
    large, larger, small = running(0, BLOCK, 2 * BLOCK + 1), running(1, 2 * BLOCK, 1), running(2, 1, 1)
    for request in (large, larger, small):
        scheduler.add(request)
    scheduler.next(blocks)
    assert blocks.free(0) == 1  # of its three blocks one is for the prompt
    assert list(scheduler.waiting) == [larger, small]  # there is room for the last one: it came last
    scheduler.remove(large, blocks)
    scheduler.next(blocks)
    assert not scheduler.waiting


def test_a_held_slot_is_given_to_no_request() -> None:
    scheduler, blocks = Scheduler(2, longest_chunk=CHUNK), pool()
    scheduler.held.add(0)
    scheduler.add(running(0, 3))
    scheduler.add(running(1, 3))
    assert scheduler.next(blocks).parts[0].slot == 1
    assert len(scheduler.waiting) == 1


def test_a_request_goes_to_the_replica_that_has_blocks_for_it() -> None:
    engine = fake_engine(slots=4, blocks=1 + 4, replicas=2)
    engine.hold(0)
    engine.pool.reserve(0, 3 * BLOCK)
    engine.add(Request(tokens=(1,) * (2 * BLOCK), max_new_tokens=2))
    engine.step()
    assert list(engine.scheduler.running) == [2]  # the other slot of the first replica is free, its blocks are not
