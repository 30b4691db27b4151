"""What counts as wrong: by the op, by the format of its output, and never where nothing is defined."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
import ttnn
from hypothesis import given
from hypothesis import strategies as st

from ttfamily.sim.formats import round_to
from ttfamily.verify.compare import EQUAL, ONE_ROUNDING, UNITS, Bound, bound_of, difference
from ttfamily.verify.door import OpCall

if TYPE_CHECKING:
    from ttfamily.core.mesh.mesh import Mesh

pytestmark = pytest.mark.tt_meshes("n300")
FORMATS = st.sampled_from(list(UNITS))
SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 70))
SEEDS = st.integers(0, 2**31 - 1)


@pytest.fixture(autouse=True)
def _cluster(tt_mesh: Mesh) -> None:
    """ttnn lays a host tensor out in tiles only where there is a cluster."""


def values(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def call(name: str, *inputs: ttnn.DataType, **kwargs: Any) -> OpCall:
    tensors = tuple(ttnn.from_torch(torch.zeros(32, 512), dtype=dtype, layout=ttnn.TILE_LAYOUT) for dtype in inputs)
    return OpCall(name=f"ttnn.{name}", args=tensors, kwargs=kwargs, run=lambda: None)


@given(SHAPES, FORMATS, SEEDS)
def test_rounding_to_a_format_is_within_one_unit_of_it(
    shape: tuple[int, ...], output: ttnn.DataType, seed: int
) -> None:
    exact = values(shape, seed)
    off = difference(round_to(exact, output).float(), exact, output)
    assert off.worst <= 1
    assert off.within(Bound(together=1.0, worst=1.0)) or output in (ttnn.bfloat8_b, ttnn.bfloat4_b)


@given(SHAPES, SEEDS)
def test_equal_values_differ_by_nothing(shape: tuple[int, ...], seed: int) -> None:
    x = values(shape, seed)
    assert difference(x, x.clone(), ttnn.bfloat16).within(EQUAL)
    assert difference(x.int(), x.int(), ttnn.int32).within(EQUAL)


@given(SHAPES, SEEDS, st.data())
def test_what_the_simulator_leaves_undefined_is_not_compared(shape: tuple[int, ...], seed: int, data: Any) -> None:
    want = values(shape, seed)
    got = want.clone()
    place = tuple(data.draw(st.integers(0, size - 1)) for size in shape)
    want[place], got[place] = torch.nan, data.draw(st.sampled_from([0.0, 1e30, torch.inf, torch.nan]))
    assert difference(got, want, ttnn.bfloat16).within(EQUAL)


@given(SHAPES, SEEDS, st.data(), st.sampled_from([torch.nan, torch.inf, -torch.inf]))
def test_an_element_that_is_not_finite_is_never_within_a_bound(
    shape: tuple[int, ...], seed: int, data: Any, wrong: float
) -> None:
    want = values(shape, seed)
    got = want.clone()
    place = tuple(data.draw(st.integers(0, size - 1)) for size in shape)
    got[place] = wrong
    off = difference(got, want, ttnn.bfloat16)
    assert not off.within(Bound(together=1e9, worst=1e9))
    assert off.place == place


@given(SHAPES, SEEDS, st.data())
def test_the_worst_element_is_named(shape: tuple[int, ...], seed: int, data: Any) -> None:
    want = values(shape, seed)
    got = want.clone()
    place = tuple(data.draw(st.integers(0, size - 1)) for size in shape)
    got[place] += 10 * want.abs().max()
    off = difference(got, want, ttnn.bfloat16)
    assert off.place == place
    assert (off.got, off.want) == (float(got[place]), float(want[place]))
    assert off.worst > 16


@given(st.floats(-0.5, 0.5), SEEDS)
def test_a_common_factor_is_seen_which_correlation_does_not_see(factor: float, seed: int) -> None:
    want = values((4, 64), seed)
    off = difference(want * (1 + factor), want, ttnn.bfloat16)
    assert off.together == pytest.approx(abs(factor) * 2**7, rel=1e-3, abs=1e-3)


@given(SEEDS)
def test_a_sum_that_cancels_is_held_to_its_row(seed: int) -> None:
    want = values((4, 64), seed)
    want[:, 0] = 1e-9
    got = want.clone()
    got[:, 0] = 1e-3  # far off for so small a number, and nothing beside the others of its row
    assert difference(got, want, ttnn.bfloat16).worst < 1


def test_an_integer_may_not_differ() -> None:
    want = torch.arange(12).view(3, 4)
    got = want.clone()
    got[2, 1] += 1
    off = difference(got, want, ttnn.uint32)
    assert (off.place, off.got, off.want) == ((2, 1), 10.0, 9.0)
    assert not off.within(Bound(together=1e9, worst=1e9))


def test_what_moves_values_may_change_none_of_them() -> None:
    assert bound_of(call("reshape", ttnn.bfloat16), ttnn.bfloat16) == EQUAL
    assert bound_of(call("experimental.paged_update_cache", ttnn.bfloat8_b, ttnn.bfloat16), ttnn.bfloat8_b) == Bound(
        together=1.0, worst=1.0
    )


def test_a_tensor_from_the_host_is_rounded_once_if_it_has_another_format_there() -> None:
    def from_torch(dtype: torch.dtype, output: ttnn.DataType) -> Bound:
        made = OpCall(name="ttnn.from_torch", args=(torch.zeros(2, dtype=dtype),), kwargs={}, run=lambda: None)
        return bound_of(made, output)

    assert from_torch(torch.bfloat16, ttnn.bfloat16) == EQUAL
    assert from_torch(torch.int32, ttnn.uint32) == EQUAL
    assert from_torch(torch.bfloat16, ttnn.bfloat8_b) == from_torch(torch.float32, ttnn.bfloat16) == ONE_ROUNDING


def test_a_matmul_is_bound_by_its_fidelity_and_its_sums() -> None:
    def matmul(fidelity: str, *, fp32: bool) -> float:
        config = SimpleNamespace(math_fidelity=SimpleNamespace(name=fidelity), fp32_dest_acc_en=fp32)
        inputs = (ttnn.bfloat16, ttnn.bfloat8_b)
        return bound_of(call("linear", *inputs, compute_kernel_config=config), ttnn.bfloat16).together

    assert [matmul(each, fp32=True) for each in ("HiFi4", "HiFi3", "HiFi2", "LoFi")] == [1.0, 2.0, 3.0, 11.0]
    assert matmul("HiFi4", fp32=False) == pytest.approx(1 + 0.5 * (512 / 16) ** 0.5)
    assert bound_of(call("linear", ttnn.bfloat16, ttnn.bfloat16), ttnn.bfloat16).together > 11


@given(st.sampled_from(["LoFi", "HiFi2", "HiFi3", "HiFi4"]), st.integers(1, 40), SEEDS)
def test_a_matmul_whose_operands_are_cut_as_the_matrix_unit_cuts_them_is_within_its_bound(
    fidelity: str, rows: int, seed: int
) -> None:
    """The cut towards zero of tt-isa-documentation, written here on its own: bits of the significand that stay."""

    def cut(x: torch.Tensor, bits: int) -> torch.Tensor:
        return (x.float().view(torch.int32) & -(1 << (24 - bits))).view(torch.float32)

    activations, weights = values((rows, 512), seed).bfloat16(), values((512, 64), seed + 1).bfloat16()
    bits = {"LoFi": (7, 5), "HiFi2": (7, 8), "HiFi3": (8, 8), "HiFi4": (8, 8)}[fidelity]
    exact = activations.double() @ weights.double()
    got = (cut(activations, bits[0]).double() @ cut(weights, bits[1]).double()).bfloat16()
    config = SimpleNamespace(math_fidelity=SimpleNamespace(name=fidelity), fp32_dest_acc_en=True)
    bound = bound_of(call("linear", ttnn.bfloat16, ttnn.bfloat16, compute_kernel_config=config), ttnn.bfloat16)
    assert difference(got, exact.bfloat16(), ttnn.bfloat16).within(bound)
