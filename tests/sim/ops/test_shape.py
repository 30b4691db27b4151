"""Ops that move values: every value arrives where ttnn's golden functions say, unchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
import ttnn
from hypothesis import given
from hypothesis import strategies as st

from ttfamily.core.layout.programs import Programs
from ttfamily.errors import SimulatorError
from ttfamily.testing.strategies import SEEDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from ttfamily.testing.operands import Operand, Operands

ALL = st.sampled_from([None, 1, 3])


def apply(function: Callable[[torch.Tensor], torch.Tensor], x: Operand) -> list[torch.Tensor]:
    return [function(part) for part in x.local]


@pytest.mark.kernel("ttnn.to_memory_config", "ttnn.sharded_to_interleaved", "ttnn.interleaved_to_sharded", "ttnn.clone")
@given(rows=st.sampled_from([1, 9, 32]), cut=ALL, dtype=st.sampled_from([ttnn.bfloat16, ttnn.bfloat8_b]), seed=SEEDS)
def test_a_change_of_memory_changes_no_value(
    bench: Operands, rows: int, cut: int | None, dtype: ttnn.DataType, seed: int
) -> None:
    bench.reseed(seed)
    programs = Programs(bench.mesh)
    sharded = programs.width_sharded(256, 8)
    x = bench.random(1, 1, rows, 256, cut=cut and 3, dtype=dtype)
    in_l1 = ttnn.to_memory_config(x.tensor, sharded)
    assert in_l1.is_sharded()
    bench.check(in_l1, x.local, roundings=0)
    bench.check(ttnn.sharded_to_interleaved(in_l1, ttnn.DRAM_MEMORY_CONFIG), x.local, roundings=0)
    bench.check(ttnn.interleaved_to_sharded(x.tensor, sharded), x.local, roundings=0)
    bench.check(ttnn.clone(x.tensor, memory_config=ttnn.L1_MEMORY_CONFIG), x.local, roundings=0)


@pytest.mark.kernel("ttnn.to_memory_config")
@given(users=st.sampled_from([1, 5, 32]), heads=st.sampled_from([1, 4, 40]), cut=st.sampled_from([None, 2]), seed=SEEDS)
def test_a_core_for_every_user(bench: Operands, users: int, heads: int, cut: int | None, seed: int) -> None:
    bench.reseed(seed)
    x = bench.random(1, users, heads, 64, cut=cut)
    memory = Programs(bench.mesh).user_sharded(users, heads, 64)
    bench.check(ttnn.to_memory_config(x.tensor, memory), x.local, roundings=0)


@pytest.mark.kernel("ttnn.to_layout", "ttnn.tilize", "ttnn.untilize")
@given(shape=st.sampled_from([(1, 1, 32, 64), (1, 2, 64, 32), (64, 96)]), cut=st.booleans(), seed=SEEDS)
def test_a_change_of_layout_changes_no_value(bench: Operands, shape: tuple[int, ...], cut: bool, seed: int) -> None:
    bench.reseed(seed)
    x = bench.random(*shape, cut=len(shape) - 1 if cut else None)
    rows = ttnn.to_layout(x.tensor, ttnn.ROW_MAJOR_LAYOUT)
    bench.check(rows, x.local, roundings=0)
    bench.check(ttnn.to_layout(rows, layout=ttnn.TILE_LAYOUT), x.local, roundings=0)
    bench.check(ttnn.untilize(x.tensor), x.local, roundings=0)
    bench.check(ttnn.tilize(rows), x.local, roundings=0)


@pytest.mark.kernel("ttnn.clone", "ttnn.to_memory_config")
def test_a_copy_in_another_format_is_rounded(bench: Operands) -> None:
    x = bench.random(1, 1, 32, 64, cut=3)
    want = [bench.stored(part.float(), ttnn.bfloat8_b) for part in x.local]
    bench.check(ttnn.clone(x.tensor, dtype=ttnn.bfloat8_b), want, roundings=0)
    bench.check(ttnn.to_memory_config(x.tensor, ttnn.L1_MEMORY_CONFIG, ttnn.bfloat8_b), want, roundings=0)


@pytest.mark.kernel("ttnn.reshape")
@given(
    case=st.sampled_from(
        [
            ((1, 1, 96, 64), (1, 3, 32, 64)),
            ((1, 1, 96, 64), (1, 1, 32, 192)),
            ((2, 3, 5, 7), (1, 1, 210, 1)),
            ((1, 1, 6, 32), (6, 32)),
            ((32, 64), (1, -1, 64, 32)),
        ]
    ),
    cut=st.booleans(),
    seed=SEEDS,
)
def test_reshape(bench: Operands, case: tuple[tuple[int, ...], tuple[int, ...]], cut: bool, seed: int) -> None:
    bench.reseed(seed)
    before, after = case
    x = bench.random(*before, cut=0 if cut else None)
    golden = ttnn.get_golden_function(ttnn.reshape)
    bench.check(ttnn.reshape(x.tensor, after), apply(lambda part: golden(part, after), x), roundings=0)


@pytest.mark.kernel("ttnn.reshape")
def test_a_padded_shape_cuts_rows_off_and_brings_nothing_back(bench: Operands) -> None:
    x = bench.random(1, 1, 32, 64, cut=3)
    few = ttnn.reshape(x.tensor, (1, 1, 5, 64), (1, 1, 32, 64))
    bench.check(few, apply(lambda part: part[:, :, :5], x), roundings=0)
    lost = [torch.cat([part[:, :, :5], torch.full((1, 1, 27, 64), torch.nan)], 2) for part in x.local]
    bench.check(ttnn.reshape(few, (1, 1, 32, 64), (1, 1, 32, 64)), lost, roundings=0)


def test_a_padded_shape_that_would_move_values_is_refused(bench: Operands) -> None:
    x = bench.random(1, 1, 32, 64).tensor
    with pytest.raises(SimulatorError, match="number of rows"):
        ttnn.reshape(x, (1, 1, 64, 32), (1, 1, 64, 32))


@pytest.mark.kernel("ttnn.unsqueeze_to_4D")
@pytest.mark.parametrize("shape", [(64,), (32, 64), (3, 32, 64), (2, 3, 32, 64)])
def test_unsqueeze_to_4d(bench: Operands, shape: tuple[int, ...]) -> None:
    x = bench.random(*shape, cut=len(shape) - 1)
    golden = ttnn.get_golden_function(ttnn.unsqueeze_to_4D)
    bench.check(ttnn.unsqueeze_to_4D(x.tensor), apply(golden, x), roundings=0)


@pytest.mark.kernel("ttnn.transpose", "ttnn.permute")
@given(
    order=st.permutations(range(4)),
    pair=st.sampled_from([(1, 2), (2, 3), (-1, -2), (0, 1), (1, -1)]),
    shape=st.sampled_from([(1, 5, 1, 64), (2, 3, 32, 64), (1, 32, 40, 32)]),
    cut=ALL,
    seed=SEEDS,
)
def test_dimensions_change_places(
    bench: Operands, order: list[int], pair: tuple[int, int], shape: tuple[int, ...], cut: int | None, seed: int
) -> None:
    bench.reseed(seed)
    x = bench.random(*shape, cut=cut)
    transpose, permute = ttnn.get_golden_function(ttnn.transpose), ttnn.get_golden_function(ttnn.permute)
    bench.check(ttnn.transpose(x.tensor, *pair), apply(lambda part: transpose(part, *pair), x), roundings=0)
    bench.check(ttnn.permute(x.tensor, order), apply(lambda part: permute(part, order), x), roundings=0)


@pytest.mark.kernel("ttnn.transpose")
def test_block_floats_share_exponents_anew_in_their_new_rows(bench: Operands) -> None:
    x = bench.random(1, 1, 32, 64, dtype=ttnn.bfloat8_b)
    want = [bench.stored(part.mT.float(), ttnn.bfloat8_b) for part in x.local]
    bench.check(ttnn.transpose(x.tensor, 2, 3), want, roundings=0)


@pytest.mark.kernel("ttnn.slice")
@given(start=st.integers(0, 3), tiles=st.integers(1, 3), cut=ALL, seed=SEEDS)
def test_slice(bench: Operands, start: int, tiles: int, cut: int | None, seed: int) -> None:
    bench.reseed(seed)
    x = bench.random(1, 2, 192, 64, cut=cut)
    starts, ends = (0, 1, 32 * start, 0), (1, 2, 32 * (start + tiles), 32)
    golden = ttnn.get_golden_function(ttnn.slice)
    bench.check(ttnn.slice(x.tensor, starts, ends), apply(lambda part: golden(part, starts, ends), x), roundings=0)


@pytest.mark.kernel("ttnn.slice")
@given(tiles=st.integers(1, 6), place=st.integers(0, 5), cut=ALL, seed=SEEDS)
def test_slice_by_corners_on_the_device(bench: Operands, tiles: int, place: int, cut: int | None, seed: int) -> None:
    bench.reseed(seed)
    x, start = bench.random(1, 1, 32 * tiles, 64, cut=cut), 32 * (place % tiles)
    rows = len(x.local[0][0, 0])
    begin, end = (
        bench.put(torch.tensor(corner), dtype=ttnn.uint32, layout=ttnn.ROW_MAJOR_LAYOUT).tensor
        for corner in ((0, 0, start, 0), (1, 1, start + 32, x.local[0].shape[3]))
    )
    got = ttnn.slice(x.tensor, begin, end, slice_dim=2, num_devices=rows // 32)
    bench.check(got, apply(lambda part: part[:, :, start : start + 32], x), roundings=0)


@pytest.mark.kernel("ttnn.slice")
def test_corners_on_the_device_that_are_no_part_apart_are_refused(bench: Operands) -> None:
    x = bench.random(1, 1, 128, 64)
    begin, end = (
        bench.put(torch.tensor(corner), dtype=ttnn.uint32, layout=ttnn.ROW_MAJOR_LAYOUT).tensor
        for corner in ((0, 0, 32, 0), (1, 1, 96, 64))
    )
    with pytest.raises(SimulatorError, match="4 parts of dimension 2; expected corners that are 32 apart there"):
        ttnn.slice(x.tensor, begin, end, slice_dim=2, num_devices=4)


@pytest.mark.kernel("ttnn.slice")
def test_slice_in_steps(bench: Operands) -> None:
    x = bench.random(1, 1, 64, 64, cut=2, layout=ttnn.ROW_MAJOR_LAYOUT)
    got = ttnn.slice(x.tensor, (0, 0, 1, 0), (1, 1, 64, 64), (1, 1, 3, 2))
    bench.check(got, apply(lambda part: part[:, :, 1:64:3, ::2], x), roundings=0)


@pytest.mark.kernel("ttnn.concat")
@given(
    dim=st.sampled_from([3, 2, 1, -1]),
    parts=st.integers(1, 3),
    cuts=st.lists(ALL, min_size=3, max_size=3),
    dtype=st.sampled_from([ttnn.bfloat16, ttnn.bfloat8_b]),
    seed=SEEDS,
)
def test_concat(bench: Operands, dim: int, parts: int, cuts: list[int | None], dtype: ttnn.DataType, seed: int) -> None:
    bench.reseed(seed)
    xs = [bench.random(1, 2, 32, 64, cut=cut, dtype=dtype) for cut in cuts[:parts]]
    golden = ttnn.get_golden_function(ttnn.concat)
    want = [golden(list(local), dim) for local in zip(*[x.local for x in xs], strict=True)]
    bench.check(ttnn.concat([x.tensor for x in xs], dim=dim), want, roundings=0)


@pytest.mark.kernel("ttnn.embedding")
@given(
    shape=st.sampled_from([(1, 1), (1, 5), (1, 32), (2, 64)]),
    cuts=st.tuples(st.booleans(), st.booleans()),
    layout=st.sampled_from([ttnn.TILE_LAYOUT, ttnn.ROW_MAJOR_LAYOUT]),
    seed=SEEDS,
)
def test_embedding(
    bench: Operands, shape: tuple[int, int], cuts: tuple[bool, bool], layout: ttnn.Layout, seed: int
) -> None:
    bench.reseed(seed)
    count = bench.mesh.tensor_parallel if cuts[0] else 1
    ids = torch.randint(0, 70, (shape[0] * count, shape[1]), generator=bench.numbers).int()
    rows = {"layout": ttnn.ROW_MAJOR_LAYOUT}
    tokens = bench.put(ids, dtype=ttnn.uint32, cut=0 if cuts[0] else None, **rows)
    table = bench.random(1, 1, 70, 96, cut=3 if cuts[1] else None, **rows)
    golden: Any = ttnn.get_golden_function(ttnn.embedding)
    want = [golden(i, t[0, 0]) for i, t in zip(tokens.local, table.local, strict=True)]
    bench.check(ttnn.embedding(tokens.tensor, table.tensor, layout=layout), want, roundings=0)


@pytest.mark.kernel("ttnn.embedding")
@pytest.mark.parametrize("wrong", [70, -1])
def test_an_id_outside_the_table_is_an_error(bench: Operands, wrong: int) -> None:
    rows = {"layout": ttnn.ROW_MAJOR_LAYOUT}
    tokens = bench.put(torch.tensor([[3, wrong]], dtype=torch.int32), dtype=ttnn.uint32, **rows)
    with pytest.raises(SimulatorError, match="0 to 69, the rows of the table"):
        ttnn.embedding(tokens.tensor, bench.random(70, 32, **rows).tensor)
