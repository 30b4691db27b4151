"""Norms as the core calls them, and in the other forms ttnn takes, against ttnn's golden functions in float64."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
import ttnn
from hypothesis import given
from hypothesis import strategies as st

from ttfamily.core.layout.norm_programs import decode_norm
from ttfamily.core.layout.programs import Programs
from ttfamily.testing.correlation import assert_pcc
from ttfamily.testing.operands import assert_rounded
from ttfamily.testing.strategies import SEEDS

if TYPE_CHECKING:
    from ttfamily.testing.operands import Operand, Operands

OPS = (ttnn.rms_norm, ttnn.layer_norm)
norms = pytest.mark.kernel("ttnn.rms_norm", "ttnn.layer_norm")


def golden(
    op: Any, x: Operand, residual: Operand | None, epsilon: float, *affine: Operand | None
) -> list[torch.Tensor]:
    function = ttnn.get_golden_function(op)
    outs = []
    for i, value in enumerate(x.local):
        weight, bias = (part and part.local[i].flatten() for part in affine)
        added = residual and residual.local[i]
        outs.append(function(value.clone(), epsilon=epsilon, weight=weight, bias=bias, residual_input_tensor=added))
    return outs


@norms
def test_of_a_weight_with_many_rows_the_first_counts(bench: Operands) -> None:
    x, weight = bench.random(1, 1, 32, 64), bench.random(32, 64)
    for op in OPS:
        plain = golden(op, x, None, 1e-5, None, None)
        want = [value * part[:1] for value, part in zip(plain, weight.local, strict=True)]
        bench.check(op(x.tensor, weight=weight.tensor, epsilon=1e-5), want)


@norms
@given(
    width=st.sampled_from([32, 96, 512]),
    rows=st.sampled_from([1, 7, 32, 64]),
    sharded=st.booleans(),
    affine=st.sampled_from(["none", "weight", "both"]),
    as_sticks=st.booleans(),
    residual=st.booleans(),
    cuts=st.tuples(*[st.sampled_from([None, 3])] * 2),
    epsilon=st.sampled_from([1e-6, 1e-5, 0.5]),
    seed=SEEDS,
)
def test_a_norm(
    bench: Operands,
    width: int,
    rows: int,
    sharded: bool,
    affine: str,
    as_sticks: bool,
    residual: bool,
    cuts: tuple[int | None, int | None],
    epsilon: float,
    seed: int,
) -> None:
    bench.reseed(seed)
    programs = Programs(bench.mesh)
    sharded = sharded and rows <= 32
    memory = programs.width_sharded(width, programs.cores_of(width)) if sharded else ttnn.DRAM_MEMORY_CONFIG
    how = {"program_config": decode_norm(programs, width)} if sharded else {}
    x = bench.random(1, 1, rows, width, cut=cuts[0], memory_config=memory)
    added = bench.random(1, 1, rows, width, cut=cuts[1], memory_config=memory) if residual else None

    def parameter() -> Operand:
        if as_sticks:
            layout = {"layout": ttnn.ROW_MAJOR_LAYOUT, "cut": cuts[1] and 2}
            return bench.random(1, 1, width // 32, 32, **layout)
        return bench.random(1, 1, 1, width, cut=cuts[1])

    weight = parameter() if affine != "none" else None
    bias = parameter() if affine == "both" else None
    for op in OPS:
        got = op(
            x.tensor,
            epsilon=epsilon,
            weight=weight and weight.tensor,
            bias=bias and bias.tensor,
            residual_input_tensor=added and added.tensor,
            memory_config=memory,
            **how,
        )
        bench.check(got, golden(op, x, added, epsilon, weight, bias))


@norms
def test_rows_that_hold_nan_spoil_no_other_row(bench: Operands) -> None:
    values = torch.randn(1, 1, 32, 64)
    values[0, 0, 3] = torch.nan
    x = bench.put(values)
    for op in OPS:
        bench.check(op(x.tensor, epsilon=1e-5), golden(op, x, None, 1e-5, None, None))


PARTS = {
    "rms": (ttnn.rms_norm_pre_all_gather, ttnn.rms_norm_post_all_gather, 1),
    "layer": (ttnn.layer_norm_pre_all_gather, ttnn.layer_norm_post_all_gather, 2),
}


WIDTHS, ROWS = st.sampled_from([32, 96, 512]), st.sampled_from([1, 7, 32, 64])


@pytest.mark.kernel("ttnn.rms_norm_pre_all_gather", "ttnn.rms_norm_post_all_gather")
@given(width=WIDTHS, rows=ROWS, seed=SEEDS)
def test_an_rms_norm_of_parts(bench: Operands, width: int, rows: int, seed: int) -> None:
    check_parts(bench, "rms", width, rows, seed)


@pytest.mark.kernel("ttnn.layer_norm_pre_all_gather", "ttnn.layer_norm_post_all_gather")
@given(width=WIDTHS, rows=ROWS, seed=SEEDS)
def test_a_layer_norm_of_parts(bench: Operands, width: int, rows: int, seed: int) -> None:
    check_parts(bench, "layer", width, rows, seed)


def check_parts(bench: Operands, kind: str, width: int, rows: int, seed: int) -> None:
    """Compare the statistics, and the norm by all devices' statistics, with ttnn's golden functions."""
    bench.reseed(seed)
    before, after, numbers = PARTS[kind]
    x, weight, bias = (bench.random(1, 1, n, width, cut=3) for n in (rows, 1, 1))
    stats = before(x.tensor)
    wanted = [ttnn.get_golden_function(before)(part.float()) for part in x.local]
    for got, want in zip(bench.read(stats), wanted, strict=True):
        assert_rounded(got[..., ::32], want[..., ::32].double())
    if bench.mesh.tensor_parallel > 1:
        stats = ttnn.all_gather(stats, 3, cluster_axis=1)
    got = after(x.tensor, stats, epsilon=1e-3, weight=weight.tensor, bias=bias.tensor)
    gathered = torch.cat(wanted, -1).bfloat16().float()
    golden = ttnn.get_golden_function(after)
    for i, part in enumerate(bench.read(got)):
        affine = {"weight": weight.local[i].float(), "bias": bias.local[i].float()}
        want = golden(x.local[i].float(), gathered, epsilon=1e-3, **affine)
        if want.isfinite().all():  # a variance of few values may round below zero
            assert_rounded(part, want.double(), roundings=2)
    assert gathered.shape[-1] == 32 * numbers * bench.mesh.tensor_parallel


def test_norms_of_parts_over_the_mesh_are_the_norm_of_the_whole(bench: Operands) -> None:
    x, weight = bench.random(1, 1, 40, 1024, cut=3), bench.random(1, 1, 1, 1024, cut=3)
    whole, gain = (torch.cat(each.local, -1) for each in (x, weight))
    for op, (before, after, _) in zip(OPS, PARTS.values(), strict=True):
        stats = before(x.tensor)
        if bench.mesh.tensor_parallel > 1:
            stats = ttnn.all_gather(stats, 3, cluster_axis=1)
        got = torch.cat(bench.read(after(x.tensor, stats, epsilon=1e-3, weight=weight.tensor)), -1)
        want = ttnn.get_golden_function(op)(whole.clone(), epsilon=1e-3, weight=gain.flatten())
        assert_pcc(got, want, 0.9999)
