"""Math fidelity and the engine's sums against a scalar model of the matrix unit.

The model is Python on single numbers, written from tt-isa-documentation (WormholeB0/TensixTile/TensixCoprocessor:
MVMUL.md, and ELWMUL.md for the masks), not from the simulator: SrcA has the weights, SrcB the activations.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import torch
import ttnn
from hypothesis import given
from hypothesis import strategies as st

from ttfamily.sim.tensor import Cell
from ttfamily.testing.strategies import SEEDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ttfamily.testing.operands import Operands

FIDELITIES = {"LoFi": 1, "HiFi2": 2, "HiFi3": 3, "HiFi4": 4}
EACH = pytest.mark.parametrize("fidelity", FIDELITIES)
TF32_BITS = 0xFFFFE000  # of a float32 that tf32 has


# ---- the scalar model


def float_of(bits: int) -> float:
    return float(struct.unpack("<f", struct.pack("<I", bits))[0])


def bits_of(x: float) -> int:
    return int(struct.unpack("<I", struct.pack("<f", x))[0])


def f32(x: float) -> float:
    return float_of(bits_of(x))


def bf16(x: float) -> float:
    """Round to nearest, ties to even."""
    bits = bits_of(x)
    return float_of((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000)


def src_a(x: float, phase: int) -> float:
    return float_of(bits_of(x) & 0xFFF80000) if phase & 1 == 0 else x - float_of(bits_of(x) & 0xFFF83FFF)


def src_b(x: float, phase: int) -> float:
    return float_of(bits_of(x) & 0xFFFE0000) if phase & 2 == 0 else x - float_of(bits_of(x) & 0xFFFE1FFF)


def one_product(activation: float, weight: float, fidelity: str) -> float:
    """Exact: 8 by 8 bits fit a float64."""
    return sum(src_b(activation, phase) * src_a(weight, phase) for phase in range(FIDELITIES[fidelity]))


def dot(a: list[float], b: list[float], fidelity: str, dst: Any, block: int, *, l1: bool) -> float:
    """One element of a product: tile by tile, phase by phase, 16 products at a time; blocks added up in L1."""
    in_l1, sum_ = 0.0, 0.0
    blocks = range(0, len(a), block * 32)
    spills = l1 and len(blocks) > 2
    for start in blocks:
        if spills:
            sum_ = in_l1 if start == blocks[-1] else 0.0
        for tile in range(start, start + block * 32, 32):
            for phase in range(FIDELITIES[fidelity]):
                for half in (tile, tile + 16):
                    x = 0.0
                    for k in range(half, half + 16):
                        x = f32(x + src_b(a[k], phase) * src_a(b[k], phase))
                    sum_ = dst(f32(sum_ + x))
        if spills and start != blocks[-1]:
            in_l1 = dst(f32(in_l1 + sum_))
    return sum_


# ---- one product, bit for bit

# bfloat16 numbers of any sign and mantissa, and 64 exponents: their products are normal numbers.
NUMBERS = st.integers(0, 2**14 - 1).map(
    lambda n: float_of((n >> 13) << 31 | (96 + (n & 63)) << 23 | (n >> 6 & 127) << 16)
)
COLUMNS = st.lists(NUMBERS, min_size=8, max_size=8)


def kernel_config(fidelity: str, **settings: bool) -> ttnn.WormholeComputeKernelConfig:
    return ttnn.WormholeComputeKernelConfig(math_fidelity=getattr(ttnn.MathFidelity, fidelity), **settings)


def spread(column: list[float], *, across: bool) -> torch.Tensor:
    """A column (or row) of numbers, and zeros: each result of a product has one product in it."""
    tile = torch.zeros(1, 1, len(column), 32)
    tile[..., 0] = torch.tensor(column)
    return tile.mT.contiguous() if across else tile


@EACH
@pytest.mark.parametrize("op", [ttnn.matmul, ttnn.linear])
@given(activations=COLUMNS, weights=COLUMNS)
def test_a_product_has_the_bits_of_its_phases(
    bench: Operands, op: Any, fidelity: str, activations: list[float], weights: list[float]
) -> None:
    x, w = bench.put(spread(activations, across=False)), bench.put(spread(weights, across=True))
    got = bench.read(op(x.tensor, w.tensor, compute_kernel_config=kernel_config(fidelity)))[0][0, 0]
    want = [[bf16(one_product(a, b, fidelity)) for b in weights] for a in activations]
    assert got.tolist() == want


@EACH
@given(activations=COLUMNS, weights=COLUMNS, low=st.integers(0, 0xFFFF))
def test_float32_operands_are_tf32_where_dest_is_float32(
    bench: Operands, fidelity: str, activations: list[float], weights: list[float], low: int
) -> None:
    activations, weights = ([float_of(bits_of(x) | low) for x in column] for column in (activations, weights))
    x, w = (
        bench.put(spread(column, across=across), dtype=ttnn.float32)
        for column, across in ((activations, False), (weights, True))
    )
    config = kernel_config(fidelity, fp32_dest_acc_en=True)
    got = bench.read(ttnn.matmul(x.tensor, w.tensor, dtype=ttnn.float32, compute_kernel_config=config))[0][0, 0]
    tf32 = [[float_of(bits_of(x) & TF32_BITS) for x in column] for column in (activations, weights)]
    assert got.tolist() == [[f32(one_product(a, b, fidelity)) for b in tf32[1]] for a in tf32[0]]


def test_weights_lose_more_than_activations_and_are_the_second_operand(bench: Operands) -> None:
    six_bits, one = torch.full((1, 1, 32, 32), 1 + 2**-5), torch.eye(32)[None, None]
    first, second = bench.put(six_bits).tensor, bench.put(one).tensor
    config = kernel_config("LoFi")
    assert (bench.read(ttnn.matmul(first, second, compute_kernel_config=config))[0] == 1 + 2**-5).all()
    assert (bench.read(ttnn.matmul(second, first, compute_kernel_config=config))[0] == 1).all()


@pytest.mark.parametrize(
    ("formats", "how", "fidelity"),
    [
        ((ttnn.bfloat16, ttnn.bfloat16), {}, "HiFi2"),
        ((ttnn.bfloat8_b, ttnn.bfloat16), {}, "HiFi2"),
        ((ttnn.bfloat8_b, ttnn.bfloat8_b), {}, "LoFi"),
        ((ttnn.bfloat16, ttnn.bfloat16), {"core_grid": ttnn.CoreGrid(y=1, x=1)}, "LoFi"),
    ],
)
def test_without_a_kernel_config_the_fidelity_is_ttnns(
    bench: Operands, formats: Any, how: dict[str, Any], fidelity: str
) -> None:
    numbers = [1 + i * 2**-7 for i in range(0, 128, 5)]
    x, w = (
        bench.put(spread(numbers, across=across), dtype=dtype)
        for dtype, across in zip(formats, (False, True), strict=True)
    )
    got = bench.read(ttnn.matmul(x.tensor, w.tensor, dtype=ttnn.bfloat16, **how))[0][0, 0]
    rows, columns = x.local[0][0, 0, :, 0].tolist(), w.local[0][0, 0, 0].tolist()
    assert got.tolist() == [[bf16(one_product(a, b, fidelity)) for b in columns] for a in rows]


# ---- weights are cut once


def test_a_weight_is_cut_anew_after_a_write_into_it_and_only_then(
    bench: Operands, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ttfamily.sim import fidelity as module

    x, w = bench.put(torch.eye(32)[None, None]), bench.put(torch.full((1, 1, 32, 32), 1 + 2**-5))
    cuts = []
    leading = module.leading
    monkeypatch.setattr(module, "leading", lambda x, bits: cuts.append(bits) or leading(x, bits))

    def product() -> float:
        cuts.clear()
        out = ttnn.matmul(x.tensor, w.tensor, compute_kernel_config=kernel_config("LoFi"))
        return float(bench.read(out)[0].unique())

    assert (product(), cuts.count(5)) == (1.0, 1)
    assert (product(), cuts.count(5)) == (1.0, 0)
    w.tensor.cell.own(*bench.mesh.shape).add_(2.0)  # as an op in place writes
    assert (product(), cuts.count(5)) == (3.0, 1)


def test_what_a_format_does_not_have_is_not_cut(bench: Operands) -> None:
    from ttfamily.sim.fidelity import Engine, cut_weights

    values = torch.randn(1, 1, 32, 32).bfloat16()
    for phases, dtype in ((1, ttnn.bfloat4_b), (2, ttnn.bfloat16), (4, ttnn.bfloat16)):
        assert cut_weights(values, dtype, Engine(phases=phases), -2) is values


# ---- flash attention


@EACH
@given(query=NUMBERS, keys=st.tuples(NUMBERS, NUMBERS), values=COLUMNS)
def test_both_products_of_flash_attention_have_their_phases(
    bench: Operands, fidelity: str, query: float, keys: tuple[float, float], values: list[float]
) -> None:
    """The first token's only probability is 1; the second's two are made of one product each."""
    q, k, v = (torch.zeros(1, 1, 32, 32) for _ in range(3))
    q[..., 0], k[0, 0, :2, 0] = query, torch.tensor(keys)
    v[0, 0, :2, :8] = torch.tensor(values)
    scale = 2.0**-12
    out = ttnn.transformer.scaled_dot_product_attention(
        *(bench.put(x).tensor for x in (q, k, v)), is_causal=True, scale=scale,
        compute_kernel_config=kernel_config(fidelity),
    )  # fmt: skip
    got = bench.read(out)[0][0, 0, :, :8]
    assert got[0].tolist() == [bf16(one_product(1.0, value, fidelity)) for value in values]
    scores = [bf16(one_product(query, key, fidelity)) for key in keys]
    chances = [bf16(float(torch.tensor((score - max(scores)) * scale).exp())) for score in scores]
    want = [bf16(sum(one_product(p, value, fidelity) for p in chances)) / sum(chances) for value in values]
    assert got[1].tolist() == pytest.approx(want, rel=2**-8)  # and rounded once more


# ---- sums as the engine makes them


@pytest.fixture
def exact(bench: Operands) -> Iterator[Operands]:
    """The open mesh, with the engine's numerics."""
    mesh = bench.interpreter.mesh
    object.__setattr__(mesh, "numerics", "engine")
    yield bench
    object.__setattr__(mesh, "numerics", "fast")


def ulps(got: float, want: float, mantissa: int) -> float:
    """Units of the last place of ``want``."""
    exponent = (bits_of(want) >> 23 & 0xFF) - 127
    return abs(got - want) / 2.0 ** (exponent - mantissa)


@EACH
@pytest.mark.parametrize("fp32_dest", [False, True], ids=["bfloat16 dest", "float32 dest"])
@pytest.mark.parametrize(("block", "l1"), [(1, False), (1, True), (2, True)])
def test_sums_are_the_engines_to_one_unit_of_the_last_place(
    exact: Operands, fidelity: str, fp32_dest: bool, block: int, l1: bool
) -> None:
    exact.reseed(0)
    x, w = exact.random(1, 1, 32, 256), exact.random(1, 1, 256, 32)
    out = ttnn.matmul(
        x.tensor, w.tensor, dtype=ttnn.float32,
        compute_kernel_config=kernel_config(fidelity, fp32_dest_acc_en=fp32_dest, packer_l1_acc=l1),
        program_config=ttnn.MatmulMultiCoreReuseMultiCastProgramConfig(
            compute_with_storage_grid_size=(1, 1), in0_block_w=block, out_subblock_h=1, out_subblock_w=1,
            per_core_M=1, per_core_N=1, transpose_mcast=False, fused_activation=None,
        ),
    )  # fmt: skip
    got = exact.read(out)[0][0, 0]
    dst, mantissa = (f32, 23) if fp32_dest else (bf16, 7)
    for i, j in ((0, 0), (3, 17), (31, 31), (12, 5)):
        want = dot(x.local[0][0, 0, i].tolist(), w.local[0][0, 0, :, j].tolist(), fidelity, dst, block, l1=l1)
        assert ulps(float(got[i, j]), want, mantissa) <= 1


@given(seed=SEEDS, fidelity=st.sampled_from([*FIDELITIES]), fp32_dest=st.booleans(), l1=st.booleans())
def test_drawn_sums_are_the_engines_to_one_unit_of_the_last_place(
    bench: Operands, seed: int, fidelity: str, fp32_dest: bool, l1: bool
) -> None:
    from ttfamily.sim.ops.matmul import matmul

    numbers = torch.Generator().manual_seed(seed)
    x, w = (torch.randn(1, 1, *shape, generator=numbers).bfloat16() for shape in ((1, 128), (128, 4)))
    config = kernel_config(fidelity, fp32_dest_acc_en=fp32_dest, packer_l1_acc=l1)
    program = attrs.make_class("Program", ["in0_block_w"])(1)
    cells = Cell(x, ttnn.bfloat16), Cell(w, ttnn.bfloat16)
    got = matmul(*cells, program_config=program, compute_kernel_config=config, numerics="engine")
    dst, mantissa = (f32, 23) if fp32_dest else (bf16, 7)
    for j in range(4):
        want = dot(x.flatten().tolist(), w[0, 0, :, j].tolist(), fidelity, dst, 1, l1=l1)
        assert ulps(float(got[0, 0, 0, j]), want, mantissa) <= 1


def test_a_bfloat16_dest_loses_what_the_default_keeps(bench: Operands, exact: Operands) -> None:
    ones = torch.ones(1, 1, 32, 1024)
    x, w = exact.put(ones).tensor, exact.put(ones.mT.contiguous()).tensor
    narrow, wide = (kernel_config("HiFi4", fp32_dest_acc_en=wide) for wide in (False, True))
    steps = exact.put(torch.where(torch.arange(1024) < 512, 1.0, 2.0**-6).expand(1, 1, 32, 1024)).tensor
    totals = [
        exact.read(ttnn.matmul(steps, w, compute_kernel_config=each))[0].unique().tolist() for each in (narrow, wide)
    ]
    assert totals == [[512.0], [520.0]]  # 16 x 2**-6 is a quarter, less than half a unit of 512
    assert exact.read(ttnn.matmul(x, w, compute_kernel_config=narrow))[0].unique().tolist() == [1024.0]


def test_flash_attention_in_the_engines_numerics_is_near_the_defaults(bench: Operands) -> None:
    from ttfamily.sim.ops.attention import attention

    bench.reseed(0)
    q, k, v = (
        Cell(torch.randn(1, 1, 1, heads, 160, 64, generator=bench.numbers).bfloat16(), ttnn.bfloat16)
        for heads in (4, 2, 2)
    )
    program = attrs.make_class("Program", ["k_chunk_size"])(32)
    fast, engine = (attention(q, k, v, program_config=program, numerics=each) for each in ("fast", "engine"))
    error = (fast - engine).square().mean().sqrt() / fast.square().mean().sqrt()
    assert 2**-9 < error < 2**-5
    first = slice(0, 1)  # a first token's result is its own value
    assert torch.equal(engine[..., first, :], v.value.repeat_interleave(2, 3)[..., first, :].float())
