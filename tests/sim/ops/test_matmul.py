"""Matrix products with the configs that the core makes, against ttnn's golden functions in float64."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import torch
import ttnn
from hypothesis import given
from hypothesis import strategies as st

from ttfamily.core.blocks.mlp import ACTIVATIONS
from ttfamily.core.config.precision import WeightPrecision, ttnn_dtype
from ttfamily.core.layout.programs import Programs
from ttfamily.testing.phases import by_phases
from ttfamily.testing.strategies import SEEDS

if TYPE_CHECKING:
    from ttfamily.testing.operands import Operand, Operands

WIDTHS = st.sampled_from([32, 64, 96, 256, 320])
FORMATS = st.sampled_from(["bf16", "bfp8", "bfp4"])
# Which of input and weight differ from device to device: column-parallel, row-parallel, and two more.
CUTS = st.sampled_from([(None, 3), (3, 2), (None, None), (3, None)])

# Every bit of both operands.
WHOLE = ttnn.WormholeComputeKernelConfig(math_fidelity=ttnn.MathFidelity.HiFi4, fp32_dest_acc_en=True)


@attrs.frozen
class Case:
    """A projection ``[.., k] @ [k, n] + bias`` on every device."""

    x: Operand
    weight: Operand
    bias: Operand | None

    def golden(self, rows: int, fidelity: str, **kwargs: Any) -> list[torch.Tensor]:
        """What ttnn's golden function says, for ``rows`` rows, of the bits that a fidelity multiplies."""
        function = ttnn.get_golden_function(ttnn.linear)
        biases = self.bias.local if self.bias else [None] * len(self.x.local)
        outs = [
            function(*by_phases(x, w, fidelity), bias=b, **kwargs)
            for x, w, b in zip(self.x.local, self.weight.local, biases, strict=True)
        ]
        return [out.reshape(1, 1, rows, -1) for out in outs]


@pytest.mark.kernel("ttnn.linear")
@given(
    k=WIDTHS,
    n=WIDTHS,
    users=st.sampled_from([1, 5, 32]),
    format_=FORMATS,
    cuts=CUTS,
    bias=st.booleans(),
    activation=st.sampled_from([None, *ACTIVATIONS]),
    seed=SEEDS,
)
def test_a_decode_projection(
    bench: Operands, k: int, n: int, users: int, format_: Any, cuts: Any, bias: bool, activation: str | None, seed: int
) -> None:
    bench.reseed(seed)
    programs, precision = Programs(bench.mesh), WeightPrecision(format_)
    x_memory = programs.width_sharded(k, programs.cores_of(k))
    fused = activation and ACTIVATIONS[activation]
    case = Case(
        bench.random(1, 1, users, k, cut=cuts[0], memory_config=x_memory),
        bench.random(
            1, 1, k, n, cut=cuts[1], scale=k**-0.5,
            dtype=ttnn_dtype(format_), memory_config=programs.bank_sharded(k, n),
        ),
        bench.random(1, 1, 1, n, cut=3, memory_config=programs.bank_sharded(32, n)) if bias else None,
    )  # fmt: skip
    arguments = programs.decode_matmul("test", k, n, precision, live_tiles=0, activation=fused)
    got = ttnn.linear(case.x.tensor, case.weight.tensor, bias=case.bias and case.bias.tensor, **arguments)
    want = case.golden(users, precision.fidelity, program_config=arguments["program_config"])
    bench.check(got, want, roundings=2)


@pytest.mark.kernel("ttnn.linear")
@given(
    k=WIDTHS,
    n=WIDTHS,
    tokens=st.sampled_from([32, 96, 256, 4096]),
    format_=FORMATS,
    cuts=CUTS,
    bias=st.booleans(),
    activation=st.sampled_from([None, *ACTIVATIONS]),
    seed=SEEDS,
)
def test_a_prefill_projection(
    bench: Operands, k: int, n: int, tokens: int, format_: Any, cuts: Any, bias: bool, activation: str | None, seed: int
) -> None:
    bench.reseed(seed)
    programs, precision = Programs(bench.mesh), WeightPrecision(format_)
    fused = activation and ACTIVATIONS[activation]
    fold, arguments = programs.prefill_matmul("test", tokens, k, n, precision, fused)
    case = Case(
        bench.random(1, tokens // fold, fold, k, cut=cuts[0]),
        bench.random(1, 1, k, n, cut=cuts[1], scale=k**-0.5, dtype=ttnn_dtype(format_)),
        bench.random(1, 1, 1, n, cut=3) if bias else None,
    )
    out = ttnn.linear(case.x.tensor, case.weight.tensor, bias=case.bias and case.bias.tensor, **arguments)
    got = ttnn.reshape(out, (1, 1, tokens, n))
    want = case.golden(tokens, precision.fidelity, program_config=arguments["program_config"])
    bench.check(got, want, roundings=2)


@pytest.mark.kernel("ttnn.matmul")
@given(
    batch=st.sampled_from([(1, 1), (1, 3), (2, 2)]),
    m=st.sampled_from([32, 40]),
    transposed=st.tuples(st.booleans(), st.booleans()),
    one_weight=st.booleans(),
    cuts=st.tuples(st.sampled_from([None, 1]), st.sampled_from([None, 1])),
    seed=SEEDS,
)
def test_a_batch_of_products(
    bench: Operands,
    batch: tuple[int, int],
    m: int,
    transposed: tuple[bool, bool],
    one_weight: bool,
    cuts: Any,
    seed: int,
) -> None:
    bench.reseed(seed)
    a_shape, b_shape = [*batch, m, 64], [*((1, 1) if one_weight else batch), 64, 96]
    for shape, flip in zip((a_shape, b_shape), transposed, strict=True):
        if flip:
            shape[2:] = reversed(shape[2:])
    a = bench.random(*a_shape, cut=cuts[0])
    b = bench.random(*b_shape, cut=None if one_weight else cuts[1])
    how = {"transpose_a": transposed[0], "transpose_b": transposed[1]}
    golden = ttnn.get_golden_function(ttnn.matmul)
    want = [golden(x, y, **how) for x, y in zip(a.local, b.local, strict=True)]
    bench.check(ttnn.matmul(a.tensor, b.tensor, compute_kernel_config=WHOLE, **how), want)


@pytest.mark.kernel("ttnn.matmul")
def test_float32_sums_reach_a_float32_output(bench: Operands) -> None:
    x, w = bench.random(1, 1, 32, 512, cut=2), bench.random(1, 1, 512, 64)
    got = bench.read(ttnn.matmul(x.tensor, w.tensor, dtype=ttnn.float32, compute_kernel_config=WHOLE))
    for part, a, b in zip(got, x.local, w.local, strict=True):
        assert float((part - a @ b).abs().max()) < 1e-4 * math.sqrt(512)


@pytest.mark.kernel("ttnn.linear")
def test_rows_that_hold_nan_spoil_no_other_row(bench: Operands) -> None:
    values = torch.randn(1, 1, 32, 64)
    values[0, 0, 7] = torch.nan
    x, w = bench.put(values), bench.random(1, 1, 64, 96, cut=3)
    want = [a @ b for a, b in zip(x.local, w.local, strict=True)]
    assert all(int(part.isnan().sum()) == 96 for part in want)
    bench.check(ttnn.linear(x.tensor, w.tensor, compute_kernel_config=WHOLE), want)
