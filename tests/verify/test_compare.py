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


def matmul_bound(*, fp32: bool) -> Bound:
    config = SimpleNamespace(fp32_dest_acc_en=fp32)
    return bound_of(call("linear", ttnn.bfloat16, ttnn.bfloat8_b, compute_kernel_config=config), ttnn.bfloat16)


def test_a_matmul_is_bound_by_its_sums() -> None:
    assert matmul_bound(fp32=True).together == 1.0
    in_bfloat16 = pytest.approx(1 + 0.5 * (512 / 16) ** 0.5)
    assert matmul_bound(fp32=False).together == in_bfloat16
    assert bound_of(call("linear", ttnn.bfloat16, ttnn.bfloat16), ttnn.bfloat16).together == in_bfloat16


@given(st.integers(1, 40), SEEDS)
def test_a_matmul_that_ran_in_lofi_where_hifi2_was_asked_for_is_outside_its_bound(rows: int, seed: int) -> None:
    """The cut towards zero of tt-isa-documentation, written here on its own: bits of the significand that stay."""

    def cut(x: torch.Tensor, bits: int) -> torch.Tensor:
        return (x.float().view(torch.int32) & -(1 << (24 - bits))).view(torch.float32)

    def product(activation_bits: int, weight_bits: int) -> torch.Tensor:
        return cut(activations, activation_bits).double() @ cut(weights, weight_bits).double()

    activations, weights = values((rows, 512), seed).bfloat16(), values((512, 64), seed + 1).bfloat16()
    lofi, hifi2 = product(7, 5), product(7, 8)
    bound = matmul_bound(fp32=True)
    assert difference(hifi2.bfloat16(), hifi2, ttnn.bfloat16).within(bound)
    assert not difference(lofi.bfloat16(), hifi2, ttnn.bfloat16).within(bound)
