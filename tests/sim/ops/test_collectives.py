"""Collectives against sums, concatenations and cuts of the devices' own tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
import ttnn
from hypothesis import given
from hypothesis import strategies as st

from ttfamily.core.layout.programs import Programs
from ttfamily.testing.strategies import SEEDS

if TYPE_CHECKING:
    from ttfamily.testing.operands import Operands

n300 = pytest.mark.tt_meshes("n300")  # there is nothing to collect on one device
CUT = st.sampled_from([None, 2, 3])
DTYPES = st.sampled_from([ttnn.bfloat16, ttnn.bfloat8_b])
AXES = st.sampled_from([None, 1])


def rounded(bench: Operands, want: list[torch.Tensor], dtype: ttnn.DataType) -> list[torch.Tensor]:
    return [bench.stored(part.float(), dtype) for part in want]


@n300
@pytest.mark.kernel("ttnn.all_reduce")
@given(rows=st.sampled_from([1, 32, 64]), sharded=st.booleans(), cut=CUT, dtype=DTYPES, axis=AXES, seed=SEEDS)
def test_all_reduce_gives_every_device_the_sum(
    bench: Operands, rows: int, sharded: bool, cut: int | None, dtype: ttnn.DataType, axis: int | None, seed: int
) -> None:
    bench.reseed(seed)
    memory = ttnn.DRAM_MEMORY_CONFIG
    if sharded and rows <= 32:
        memory = Programs(bench.mesh).width_sharded(256, 8)
    x = bench.random(1, 1, rows, 256, cut=cut, dtype=dtype, memory_config=memory)
    got = ttnn.all_reduce(x.tensor, cluster_axis=axis, memory_config=memory)
    bench.check(got, rounded(bench, [sum(x.local)] * len(x.local), dtype), roundings=0)


@n300
@pytest.mark.kernel("ttnn.reduce_scatter")
@given(dim=st.sampled_from([3, 2, -1]), cut=CUT, dtype=DTYPES, axis=AXES, seed=SEEDS)
def test_reduce_scatter_gives_every_device_its_part_of_the_sum(
    bench: Operands, dim: int, cut: int | None, dtype: ttnn.DataType, axis: int | None, seed: int
) -> None:
    bench.reseed(seed)
    x = bench.random(1, 1, 128, 256, cut=cut, dtype=dtype)
    want = list(torch.chunk(sum(x.local), len(x.local), dim))
    bench.check(ttnn.reduce_scatter(x.tensor, dim, cluster_axis=axis), rounded(bench, want, dtype), roundings=0)


@n300
@pytest.mark.kernel("ttnn.all_gather")
@given(dim=st.sampled_from([3, 2, 1, -2]), cut=CUT, dtype=DTYPES, axis=AXES, seed=SEEDS)
def test_all_gather_gives_every_device_the_whole(
    bench: Operands, dim: int, cut: int | None, dtype: ttnn.DataType, axis: int | None, seed: int
) -> None:
    bench.reseed(seed)
    x = bench.random(1, 2, 64, 96, cut=cut, dtype=dtype)
    want = [torch.cat(x.local, dim)] * len(x.local)
    bench.check(ttnn.all_gather(x.tensor, dim, cluster_axis=axis), want, roundings=0)
