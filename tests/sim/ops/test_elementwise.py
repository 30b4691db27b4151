"""Arithmetic, fused activations and casts against ttnn's golden functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
import ttnn
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from ttfamily.core.blocks.mlp import ACTIVATIONS
from ttfamily.core.layout.programs import Programs
from ttfamily.errors import SimulatorError
from ttfamily.testing.strategies import SEEDS

if TYPE_CHECKING:
    from ttfamily.testing.operands import Operand, Operands

OPS = (ttnn.add, ttnn.subtract, ttnn.multiply)
arithmetic = pytest.mark.kernel("ttnn.add", "ttnn.subtract", "ttnn.multiply")
TORCH = {"silu": functional.silu, "gelu": functional.gelu, "relu": functional.relu}
TORCH["gelu_tanh"] = lambda x: functional.gelu(x, approximate="tanh")
CUTS = st.sampled_from([None, 3])


def golden(op: Any, *operands: Operand | float, **kwargs: Any) -> list[torch.Tensor]:
    """Apply ttnn's golden function on every device."""
    locals_ = [operand.local if hasattr(operand, "local") else None for operand in operands]
    count = max(len(local) for local in locals_ if local)
    function = ttnn.get_golden_function(op)
    return [
        function(
            *[o if local is None else local[i].clone() for o, local in zip(operands, locals_, strict=True)], **kwargs
        )
        for i in range(count)
    ]


@arithmetic
@given(
    first=st.sampled_from([(1, 2, 32, 64), (1, 1, 1, 96), (2, 1, 40, 32)]),
    second=st.sampled_from(["same", "a row", "a column", "one number", "fewer dimensions"]),
    dtype=st.sampled_from([ttnn.bfloat16, ttnn.bfloat8_b]),
    cuts=st.tuples(CUTS, CUTS),
    seed=SEEDS,
)
def test_arithmetic_is_that_of_the_golden_functions(
    bench: Operands, first: tuple[int, ...], second: str, dtype: ttnn.DataType, cuts: tuple[Any, Any], seed: int
) -> None:
    bench.reseed(seed)
    shapes = {
        "same": first,
        "a row": (1, 1, 1, first[3]),
        "a column": (*first[:3], 1),
        "one number": (1, 1, 1, 1),
        "fewer dimensions": first[2:],
    }
    shape = shapes[second]
    cut = None if cuts[1] is None else len(shape) - 1
    a = bench.random(*first, cut=cuts[0], dtype=dtype)
    b = bench.random(*shape, cut=cut, dtype=dtype)
    for op in OPS:
        bench.check(op(a.tensor, b.tensor, dtype=ttnn.bfloat16), golden(op, a, b))


@arithmetic
def test_either_operand_can_be_a_number(bench: Operands) -> None:
    x = bench.random(1, 1, 32, 32, cut=3)
    for op in OPS:
        bench.check(op(x.tensor, 1.5), golden(op, x, 1.5))
        bench.check(op(-2.0, x.tensor), golden(op, -2.0, x))


@arithmetic
def test_integers_stay_exact(bench: Operands) -> None:
    values = torch.randint(-(2**26), 2**26, (1, 1, 32, 32), dtype=torch.int32, generator=bench.numbers)
    a, b = bench.put(values, dtype=ttnn.int32), bench.put(values.flip(-1) // 2**14, dtype=ttnn.int32)
    for op, exact in zip(OPS, (torch.add, torch.sub, torch.mul), strict=True):
        want = [exact(x.int(), y.int()) for x, y in zip(a.local, b.local, strict=True)]  # wraps at 32 bits
        bench.check(op(a.tensor, b.tensor), want, roundings=0)


@pytest.mark.kernel("ttnn.multiply")
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_fused_activation_is_applied_to_its_own_operand(bench: Operands, name: str) -> None:
    programs = Programs(bench.mesh)
    memory = programs.width_sharded(256, programs.cores_of(256))
    gate, up = (bench.random(1, 1, 32, 256, cut=3, memory_config=memory) for _ in range(2))
    activation, exact = ACTIVATIONS[name], TORCH[name]
    both = list(zip(gate.local, up.local, strict=True))
    got = ttnn.multiply(gate.tensor, up.tensor, input_tensor_a_activations=[activation], memory_config=memory)
    bench.check(got, [exact(a) * b for a, b in both])
    bench.check(got, golden(ttnn.multiply, gate, up, input_tensor_a_activations=[activation]))
    got = ttnn.multiply(gate.tensor, up.tensor, input_tensor_b_activations=[activation])
    bench.check(got, [a * exact(b) for a, b in both])
    got = ttnn.multiply(gate.tensor, up.tensor, activations=[activation])
    bench.check(got, [exact(a * b) for a, b in both])


@pytest.mark.parametrize("activation", [ttnn.UnaryWithParam(ttnn.UnaryOpType.GELU, 1.0), ttnn.UnaryOpType.GELU])
def test_gelu_by_table_is_refused(bench: Operands, activation: Any) -> None:
    x = bench.random(1, 1, 32, 32).tensor
    with pytest.raises(SimulatorError, match="as a table"):
        ttnn.multiply(x, x, activations=[activation])


def test_an_activation_that_is_not_simulated_is_refused(bench: Operands) -> None:
    x = bench.random(1, 1, 32, 32).tensor
    with pytest.raises(SimulatorError, match="ACTIVATIONS"):
        ttnn.add(x, x, activations=[ttnn.UnaryOpType.ATAN])
    with pytest.raises(SimulatorError, match=r"SIGMOID with the parameters \[4.0, 1.0\]"):
        ttnn.add(x, x, activations=[ttnn.UnaryWithParam(ttnn.UnaryOpType.SIGMOID, 4.0, 1.0)])


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("gelu", torch.nn.functional.gelu),
        ("silu", torch.nn.functional.silu),
        ("relu6", torch.nn.functional.relu6),
        ("sigmoid", torch.sigmoid),
        ("hardsigmoid", torch.nn.functional.hardsigmoid),
        ("tanh", torch.tanh),
        ("mish", torch.nn.functional.mish),
    ],
)
def test_an_activation_may_be_given_by_its_name(bench: Operands, name: str, function: Any) -> None:
    x, weight = bench.random(1, 1, 32, 64, cut=3), bench.random(1, 1, 64, 32)
    want = [function(a @ b) for a, b in zip(x.local, weight.local, strict=True)]
    whole = ttnn.WormholeComputeKernelConfig(math_fidelity=ttnn.MathFidelity.HiFi4)  # multiplies every bit
    bench.check(ttnn.linear(x.tensor, weight.tensor, activation=name, compute_kernel_config=whole), want)


@pytest.mark.kernel("ttnn.typecast")
@pytest.mark.parametrize("wanted", [ttnn.bfloat8_b, ttnn.bfloat4_b, ttnn.float32, ttnn.bfloat16])
@pytest.mark.parametrize("given_", [ttnn.bfloat16, ttnn.bfloat8_b, ttnn.float32])
def test_a_cast_rounds_as_ttnn_does_on_host(bench: Operands, given_: ttnn.DataType, wanted: ttnn.DataType) -> None:
    x = bench.random(1, 2, 32, 64, cut=1, dtype=given_)
    want = [bench.stored(part.float(), wanted) for part in x.local]
    bench.check(ttnn.typecast(x.tensor, wanted), want, roundings=0)
    bench.check(ttnn.typecast(x.tensor, dtype=wanted), want, roundings=0)


@pytest.mark.kernel("ttnn.typecast")
def test_a_cast_of_integers_keeps_them(bench: Operands) -> None:
    values = torch.arange(32 * 32, dtype=torch.int32).reshape(1, 1, 32, 32)
    x = bench.put(values, dtype=ttnn.uint32)
    bench.check(ttnn.typecast(x.tensor, ttnn.int32), x.local, roundings=0)
    bench.check(ttnn.typecast(x.tensor, ttnn.uint16), x.local, roundings=0)
    bench.check(ttnn.typecast(x.tensor, ttnn.float32), x.local, roundings=0)


# ttnn's golden function, written down by hand: what a Wormhole makes of a float.
CASTS = {
    ttnn.int32: [-3, -2, -1, 0, 0, 1, 2, 3, 300],
    ttnn.uint32: [0, 0, 0, 0, 0, 1, 2, 3, 300],
    ttnn.uint16: [0, 0, 0, 0, 1, 2, 3, 4, 300],
    ttnn.uint8: [253, 254, 255, 0, 0, 1, 2, 3, 44],
}


@pytest.mark.kernel("ttnn.typecast")
def test_a_cast_of_floats_to_integers_cuts_off_or_rounds_by_the_format(bench: Operands) -> None:
    x = torch.zeros(1, 1, 32, 32)
    x[0, 0, 0, :9] = torch.tensor([-3.75, -2.5, -1.0, -0.25, 0.5, 1.5, 2.75, 3.5, 300.0])
    for wanted, numbers in CASTS.items():
        got = bench.read(ttnn.typecast(bench.put(x).tensor, wanted))
        assert all(part[0, 0, 0, :9].tolist() == numbers for part in got), wanted


@pytest.mark.kernel("ttnn.typecast")
def test_a_cast_of_large_unsigned_integers_keeps_their_sign(bench: Operands) -> None:
    x = bench.put(torch.full((1, 1, 32, 32), 2**31 + 2**20, dtype=torch.int64), dtype=ttnn.uint32)
    bench.check(ttnn.typecast(x.tensor, ttnn.float32), [torch.full((1, 1, 32, 32), 2.0**31 + 2**20)] * len(x.local))


@pytest.mark.kernel("ttnn.unary_chain")
def test_a_chain_of_activations(bench: Operands) -> None:
    x = bench.random(1, 1, 32, 64, cut=3)
    chain = [ttnn.UnaryWithParam(ttnn.UnaryOpType.RELU), ttnn.UnaryWithParam(ttnn.UnaryOpType.SILU)]
    want = [torch.nn.functional.silu(part.relu()) for part in x.local]
    bench.check(ttnn.unary_chain(x.tensor, chain), want)


@pytest.mark.kernel("ttnn.add_")
@given(shape=st.sampled_from([(1, 1, 32, 64), (2, 1, 40, 32)]), cuts=st.tuples(CUTS, CUTS), seed=SEEDS)
def test_a_sum_in_place_is_in_the_first_operands_buffer(
    bench: Operands, shape: tuple[int, ...], cuts: tuple[Any, Any], seed: int
) -> None:
    bench.reseed(seed)
    a, b = (bench.random(*shape, cut=cut) for cut in cuts)
    want = golden(ttnn.add, a, b)
    total = ttnn.add_(a.tensor, b.tensor)
    assert total.buffer_unique_id() == a.tensor.buffer_unique_id()
    bench.check(total, want)
    bench.check(a.tensor, want)
    bench.check(b.tensor, b.local, roundings=0)


@pytest.mark.kernel("ttnn.add_")
def test_a_sum_in_place_is_refused_while_another_shape_of_the_buffer_is_held(bench: Operands) -> None:
    a, b = bench.random(1, 1, 64, 32), bench.random(1, 2, 32, 32)
    reshaped = ttnn.reshape(a.tensor, (1, 2, 32, 32))
    with pytest.raises(SimulatorError, match=r"gave another shape without a copy"):
        ttnn.add_(reshaped, b.tensor)
    want = [one.reshape(1, 2, 32, 32) + other for one, other in zip(a.local, b.local, strict=True)]
    del a
    bench.check(ttnn.add_(reshaped, b.tensor), want)
