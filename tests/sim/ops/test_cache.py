"""The paged cache against plain indexing loops: what is written arrives rounded, and nothing else changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest
import torch
import ttnn
from hypothesis import given
from hypothesis import strategies as st

from ttfamily.core.layout.programs import Programs
from ttfamily.errors import SimulatorError
from ttfamily.testing.strategies import SEEDS

if TYPE_CHECKING:
    from ttfamily.testing.operands import Operand, Operands

BLOCKS, PAGES = 48, 4
ROWS = {"layout": ttnn.ROW_MAJOR_LAYOUT}
FORMATS = st.sampled_from([ttnn.bfloat16, ttnn.bfloat8_b])
CUTS = st.sampled_from([(None, None), (1, 1), (None, 1), (1, None)])  # the cache's heads, the new ones'
update = pytest.mark.kernel("ttnn.experimental.paged_update_cache")
fill = pytest.mark.kernel("ttnn.experimental.paged_fill_cache")


@attrs.frozen
class Paged:
    """A cache, and who owns which of its blocks."""

    cache: Operand
    table: torch.Tensor

    @classmethod
    def random(cls, bench: Operands, *, heads: int, size: int, users: int, **placed: object) -> Paged:
        shuffled = torch.randperm(BLOCKS * users, generator=bench.numbers)
        cache = bench.random(PAGES * users + 1, heads, size, 64, **placed)
        table = shuffled[shuffled < PAGES * users].reshape(users, PAGES).int()
        return cls(cache, table)

    def expected(self, device: int) -> torch.Tensor:
        return self.cache.local[device].clone()


@update
@given(
    users=st.sampled_from([1, 3, 8, 32]),
    heads=st.sampled_from([1, 2, 8]),
    size=st.sampled_from([32, 64]),
    dtype=FORMATS,
    cuts=CUTS,
    empty=st.booleans(),
    seed=SEEDS,
)
def test_every_user_writes_one_token_at_its_position(
    bench: Operands,
    users: int,
    heads: int,
    size: int,
    dtype: ttnn.DataType,
    cuts: tuple[int | None, int | None],
    empty: bool,
    seed: int,
) -> None:
    bench.reseed(seed)
    paged = Paged.random(bench, heads=heads, size=size, users=users, dtype=dtype, cut=cuts[0])
    memory = Programs(bench.mesh).user_sharded(users, heads, 64)
    new = bench.random(1, users, heads, 64, cut=cuts[1] and 2, memory_config=memory)
    where = torch.randint(0, PAGES * size, (users,), generator=bench.numbers).int()
    if empty:
        where[::2] = -1
    positions = bench.put(where, dtype=ttnn.int32, **ROWS)
    table = bench.put(paged.table, dtype=ttnn.int32, **ROWS)
    before = ttnn.clone(paged.cache.tensor)
    ttnn.experimental.paged_update_cache(
        paged.cache.tensor, new.tensor, update_idxs_tensor=positions.tensor, page_table=table.tensor
    )
    want = []
    for device, x in enumerate(new.local):
        expected = paged.expected(device)
        for u in range(users):
            if where[u] >= 0:
                block = paged.table[u, where[u] // size]
                expected[block, :, where[u] % size] = bench.stored(x[0, u].float(), dtype)
        want.append(expected)
    bench.check(paged.cache.tensor, want, roundings=0)
    for operand, tensor in (
        (paged.cache, before),
        (new, new.tensor),
        (positions, positions.tensor),
        (table, table.tensor),
    ):
        bench.check(tensor, operand.local, roundings=0)


@fill
@given(
    tokens=st.sampled_from([32, 64, 96, 128]),
    heads=st.sampled_from([1, 2, 8]),
    size=st.sampled_from([32, 64]),
    user=st.integers(0, 2),
    skipped=st.booleans(),
    dtype=FORMATS,
    cuts=CUTS,
    seed=SEEDS,
)
def test_a_prompt_fills_the_pages_of_its_user(
    bench: Operands,
    tokens: int,
    heads: int,
    size: int,
    user: int,
    skipped: bool,
    dtype: ttnn.DataType,
    cuts: tuple[int | None, int | None],
    seed: int,
) -> None:
    bench.reseed(seed)
    paged = Paged.random(bench, heads=heads, size=size, users=3, dtype=dtype, cut=cuts[0])
    pages = paged.table.clone()
    if skipped:
        pages[user, -(-tokens // size) - 1 :] = -1
    prompt = bench.random(1, heads, tokens, 64, cut=cuts[1], dtype=dtype)
    table = bench.put(pages, dtype=ttnn.int32, **ROWS)
    before = ttnn.clone(paged.cache.tensor)
    ttnn.experimental.paged_fill_cache(paged.cache.tensor, prompt.tensor, table.tensor, batch_idx=user)
    want = []
    for device, x in enumerate(prompt.local):
        expected = paged.expected(device)
        for t in range(tokens):
            if pages[user, t // size] >= 0:
                expected[pages[user, t // size], :, t % size] = x[0, :, t]
        want.append(expected)
    bench.check(paged.cache.tensor, want, roundings=0)
    for operand, tensor in ((paged.cache, before), (prompt, prompt.tensor), (table, table.tensor)):
        bench.check(tensor, operand.local, roundings=0)


@update
@fill
def test_writing_into_a_cache_leaves_the_host_tensor_it_came_from_alone(bench: Operands) -> None:
    host = torch.zeros(4, 1, 32, 64, dtype=torch.bfloat16)
    cache, table = bench.put(host), bench.put(torch.tensor([[2, 1]], dtype=torch.int32), dtype=ttnn.int32, **ROWS)
    prompt = bench.random(1, 1, 32, 64)
    ttnn.experimental.paged_fill_cache(cache.tensor, prompt.tensor, table.tensor, batch_idx=0)
    token = bench.random(1, 1, 1, 64, memory_config=Programs(bench.mesh).user_sharded(1, 1, 64))
    position = bench.put(torch.tensor([33], dtype=torch.int32), dtype=ttnn.int32, **ROWS)
    ttnn.experimental.paged_update_cache(
        cache.tensor, token.tensor, update_idxs_tensor=position.tensor, page_table=table.tensor
    )
    assert not host.any()
    want = [torch.cat([torch.zeros(2, 1, 32, 64), p.float(), torch.zeros(1, 1, 32, 64)]) for p in prompt.local]
    for part, x in zip(want, token.local, strict=True):
        part[1, 0, 1] = x[0, 0, 0]
    bench.check(cache.tensor, want, roundings=0)


@update
@pytest.mark.parametrize(
    ("position", "pages", "message"),
    [
        (32, [1, -1], r"page table entries \[-1\] where 4 blocks are"),
        (3, [4, 0], r"page table entries \[4\] where 4 blocks are"),
        (64, [1, 2], r"positions \[64\] in 2 pages of 32 tokens"),
        (-2, [1, 2], r"positions \[-2\] in 2 pages of 32 tokens"),
    ],
)
def test_a_token_that_would_go_beside_the_cache_is_an_error(
    bench: Operands, position: int, pages: list[int], message: str
) -> None:
    cache = bench.random(4, 1, 32, 64)
    token = bench.random(1, 1, 1, 64, memory_config=Programs(bench.mesh).user_sharded(1, 1, 64))
    where = bench.put(torch.tensor([position], dtype=torch.int32), dtype=ttnn.int32, **ROWS)
    table = bench.put(torch.tensor([pages], dtype=torch.int32), dtype=ttnn.int32, **ROWS)
    with pytest.raises(SimulatorError, match=message):
        ttnn.experimental.paged_update_cache(
            cache.tensor, token.tensor, update_idxs_tensor=where.tensor, page_table=table.tensor
        )
    bench.check(cache.tensor, cache.local, roundings=0)


@fill
def test_a_page_that_names_no_block_is_an_error(bench: Operands) -> None:
    cache, prompt = bench.random(4, 1, 32, 64), bench.random(1, 1, 32, 64)
    table = bench.put(torch.tensor([[4]], dtype=torch.int32), dtype=ttnn.int32, **ROWS)
    with pytest.raises(SimulatorError, match=r"page table entries \[4\] where 4 blocks are"):
        ttnn.experimental.paged_fill_cache(cache.tensor, prompt.tensor, table.tensor, batch_idx=0)


@fill
def test_an_argument_that_is_not_simulated_is_refused(bench: Operands) -> None:
    cache, prompt = bench.random(4, 1, 32, 64), bench.random(1, 1, 128, 64)
    table = bench.put(torch.tensor([[1, 2, 3, 0]], dtype=torch.int32), dtype=ttnn.int32, **ROWS)
    with pytest.raises(SimulatorError, match="cache_position_modulo"):
        ttnn.experimental.paged_fill_cache(
            cache.tensor, prompt.tensor, table.tensor, batch_idx=0, cache_position_modulo=64
        )
    bench.check(cache.tensor, cache.local, roundings=0)


@update
def test_more_heads_than_a_tile_has_rows_are_refused(bench: Operands) -> None:
    cache, x = bench.random(2, 33, 32, 32), bench.random(1, 1, 33, 32)
    x = ttnn.to_memory_config(x.tensor, Programs(bench.mesh).user_sharded(1, 33, 32))
    positions, pages = (bench.put(torch.zeros(*shape).int(), dtype=ttnn.int32, **ROWS) for shape in ((1,), (1, 1)))
    with pytest.raises(SimulatorError, match="33 key/value heads; expected at most 32"):
        ttnn.experimental.paged_update_cache(
            cache.tensor, x, update_idxs_tensor=positions.tensor, page_table=pages.tensor
        )
