"""Rounding to the device's formats, against ttnn's own packing on the host."""

from __future__ import annotations

from typing import TYPE_CHECKING

import hypothesis.strategies as st
import pytest
import torch
import ttnn
from hypothesis import given

from ttfamily.errors import SimulatorError
from ttfamily.sim import formats
from ttfamily.sim.formats import CARRIER, as_host, round_bfloat4_b, round_bfloat8_b, round_to
from ttfamily.sim.session import open_session

if TYPE_CHECKING:
    from collections.abc import Callable

    Rounding = Callable[[torch.Tensor], torch.Tensor]

BLOCK_FORMATS = [(ttnn.bfloat8_b, round_bfloat8_b), (ttnn.bfloat4_b, round_bfloat4_b)]
ROW_MAJOR_FORMATS = [dtype for dtype in CARRIER if dtype not in (ttnn.bfloat8_b, ttnn.bfloat4_b)]
HELD = {
    ttnn.int32: (-(2**31), 2**31 - 1),
    ttnn.uint32: (-(2**31), 2**32 - 1),  # negative ones wrap
    ttnn.uint16: (0, 2**16 - 1),
    ttnn.uint8: (0, 2**8 - 1),
}
INTEGERS = [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool]

# What decides a value's rounding: all significands near a tie, near the next exponent, at the ends.
MANTISSAS = st.one_of(
    st.integers(0, 0x7FFFFF),
    st.builds(
        lambda high, low: high << 16 | low, st.integers(0, 0x7F), st.sampled_from([0, 1, 0x7FFF, 0x8000, 0xFFFF])
    ),
)


@pytest.fixture(scope="module", autouse=True)
def _mock_cluster() -> None:
    """Packing on the host asks the cluster for its alignment, so there has to be one."""
    open_session("wormhole", (1, 1), computes=False, trace_region=0).close()


@st.composite
def hard_rows(draw: st.DrawFn) -> torch.Tensor:
    """Draw a row of float32 bits whose exponents lie close to each other, anywhere in the range."""
    largest = draw(st.integers(0, 255))
    values = st.tuples(st.booleans(), st.integers(0, 30), MANTISSAS)
    drawn = draw(st.lists(values, min_size=1, max_size=40))
    bits = [sign << 31 | max(0, largest - lower) << 23 | mantissa for sign, lower, mantissa in drawn]
    return as_floats(torch.tensor([bits]))


@st.composite
def views(draw: st.DrawFn) -> torch.Tensor:
    """Draw random values behind a shape and strides of any kind."""
    shape = draw(st.lists(st.integers(1, 40), min_size=2, max_size=4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    x = torch.randn(shape, generator=generator) * torch.randn(shape, generator=generator).mul(6).exp2()
    x = x.to(draw(st.sampled_from([torch.float32, torch.bfloat16, torch.float16, torch.float64])))
    x = x.permute(draw(st.permutations(range(x.dim()))))
    dim = draw(st.integers(0, x.dim() - 1))
    change = draw(st.sampled_from(["as it is", "every second", "the middle", "expanded"]))
    if change == "every second":
        return x.transpose(0, dim)[::2].transpose(0, dim)
    if change == "the middle":
        return x.narrow(dim, x.shape[dim] // 3, 1 + x.shape[dim] // 3)
    if change == "expanded":
        return x.narrow(dim, 0, 1).expand([3 if d == dim else size for d, size in enumerate(x.shape)])
    return x


def as_floats(bits: torch.Tensor) -> torch.Tensor:
    """Read the low 32 bits of integers as float32."""
    return bits.to(torch.int32).view(torch.float32)


def bits_of(x: torch.Tensor) -> torch.Tensor:
    """Show NaN payloads and the sign of zero to a comparison."""
    return x.contiguous().view({2: torch.int16, 4: torch.int32}[x.element_size()])


def packed_by_ttnn(x: torch.Tensor, dtype: ttnn.DataType) -> torch.Tensor:
    """Make the round trip of ``ttnn.from_torch`` and ``ttnn.to_torch``, whose bodies these calls are."""
    layout = ttnn.ROW_MAJOR_LAYOUT if dtype in ROW_MAJOR_FORMATS else ttnn.TILE_LAYOUT
    return ttnn.Tensor(tensor=x, data_type=dtype, layout=layout).to_torch()


def assert_rounds_like_ttnn(x: torch.Tensor, dtype: ttnn.DataType, round_blocks: Rounding) -> None:
    rounded = round_blocks(x)
    assert rounded.dtype == torch.bfloat16
    assert rounded.shape == x.shape
    # Widened on the bits: a conversion would be free to change a NaN's payload.
    widened = bits_of(rounded).to(torch.int32) << 16
    assert torch.equal(widened, bits_of(packed_by_ttnn(x, dtype)))


@pytest.mark.parametrize(("dtype", "round_blocks"), BLOCK_FORMATS)
class TestBlockFloats:
    @given(row=hard_rows(), narrow=st.booleans())
    def test_hard_blocks_are_bit_equal_with_ttnn(
        self, row: torch.Tensor, narrow: bool, dtype: ttnn.DataType, round_blocks: Rounding
    ) -> None:
        x = as_floats(bits_of(row) & ~0xFFFF).bfloat16() if narrow else row
        assert_rounds_like_ttnn(x, dtype, round_blocks)

    @given(x=views())
    def test_every_shape_and_stride_is_bit_equal_with_ttnn(
        self, x: torch.Tensor, dtype: ttnn.DataType, round_blocks: Rounding
    ) -> None:
        assert_rounds_like_ttnn(x, dtype, round_blocks)

    @pytest.mark.parametrize("spread", [1, 8, 25, 255])
    def test_every_shared_exponent_is_bit_equal_with_ttnn(
        self, monkeypatch: pytest.MonkeyPatch, spread: int, dtype: ttnn.DataType, round_blocks: Rounding
    ) -> None:
        generator = torch.Generator().manual_seed(spread)
        shape = (256, 1024)
        monkeypatch.setattr(
            formats, "SLICE", 1024
        )  # a row each: a slice with an extreme exponent is rounded on its bits
        lower = torch.randint(0, spread + 1, shape, generator=generator)
        exponents = (torch.arange(256)[:, None] - lower).clamp(min=0)
        mantissas = torch.randint(0, 1 << 24, shape, generator=generator)  # the highest bit is the sign
        assert_rounds_like_ttnn(
            as_floats(mantissas >> 23 << 31 | exponents << 23 | mantissas & 0x7FFFFF), dtype, round_blocks
        )

    def test_blocks_with_infinities_and_nans_are_bit_equal_with_ttnn(
        self, dtype: ttnn.DataType, round_blocks: Rounding
    ) -> None:
        x = torch.randn(7, 100, generator=torch.Generator().manual_seed(0)) * 1e38
        x[0, 3], x[1, 20], x[2, 50], x[3, 99] = torch.inf, -torch.inf, torch.nan, -torch.nan
        x[4, 7] = as_floats(torch.tensor(0x7F800001))  # a NaN whose payload does not survive: an infinity comes out
        assert_rounds_like_ttnn(x, dtype, round_blocks)

    def test_the_cut_into_slices_does_not_show(
        self, monkeypatch: pytest.MonkeyPatch, dtype: ttnn.DataType, round_blocks: Rounding
    ) -> None:
        wide = torch.randn(2, 40, 50, generator=torch.Generator().manual_seed(0))
        for x in (wide, wide.transpose(0, 2), wide.transpose(1, 2)):
            whole = round_blocks(x)
            for size in (16, 100, 1000):
                monkeypatch.setattr(formats, "SLICE", size)
                assert torch.equal(round_blocks(x), whole)
            monkeypatch.undo()
            assert torch.equal(whole.float(), packed_by_ttnn(x, dtype))

    def test_rounding_twice_changes_nothing_more(self, dtype: ttnn.DataType, round_blocks: Rounding) -> None:
        del dtype
        once = round_blocks(torch.randn(64, 64, generator=torch.Generator().manual_seed(0)))
        assert torch.equal(round_blocks(once), once)

    def test_memory_order_is_kept(self, dtype: ttnn.DataType, round_blocks: Rounding) -> None:
        del dtype
        weight = torch.randn(2, 48, 32)
        assert round_blocks(weight.transpose(1, 2)).stride() == weight.transpose(1, 2).stride()
        assert round_blocks(weight.permute(2, 0, 1)).stride() == weight.permute(2, 0, 1).stride()
        assert round_blocks(weight.expand(4, 2, 48, 32)).stride(0) == 0

    def test_empty_tensors_stay_empty(self, dtype: ttnn.DataType, round_blocks: Rounding) -> None:
        del dtype
        for shape in ((0, 32), (32, 0), (2, 0, 32)):
            assert round_blocks(torch.zeros(shape)).shape == shape

    def test_a_scalar_has_no_blocks(self, dtype: ttnn.DataType, round_blocks: Rounding) -> None:
        del dtype
        with pytest.raises(SimulatorError, match="without dimensions"):
            round_blocks(torch.tensor(1.0))


@pytest.mark.parametrize("magnitude_bits", [7, 3])
def test_every_block_float_value_is_a_bfloat16_value(magnitude_bits: int) -> None:
    magnitudes = torch.arange(1 << magnitude_bits).double()
    exponents = torch.arange(1, 255).double()[:, None]
    values = magnitudes * torch.exp2(exponents - 126 - magnitude_bits)
    assert values.isfinite().all()
    assert torch.equal(values.bfloat16().double(), values)


@pytest.mark.parametrize("dtype", CARRIER, ids=lambda dtype: dtype.name)
@given(
    rows=st.lists(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=3, max_size=3), min_size=1, max_size=20),
    source=st.sampled_from(INTEGERS),
)
def test_integers_become_what_ttnn_makes_of_them(
    dtype: ttnn.DataType, rows: list[list[int]], source: torch.dtype
) -> None:
    x = torch.tensor(rows).to(source)
    expected, carried = packed_by_ttnn(x, dtype), round_to(x, dtype)
    assert carried.dtype == CARRIER[dtype]
    assert as_host(carried, dtype).dtype == expected.dtype
    assert as_host(carried, dtype).tolist() == expected.tolist()


@pytest.mark.parametrize("dtype", ROW_MAJOR_FORMATS, ids=lambda dtype: dtype.name)
@given(row=hard_rows(), source=st.sampled_from([torch.float32, torch.bfloat16]))
def test_floats_become_what_ttnn_makes_of_them(dtype: ttnn.DataType, row: torch.Tensor, source: torch.dtype) -> None:
    x = row.to(source)
    if dtype in HELD:  # for other values ttnn's result depends on their place in the tensor
        smallest, largest = HELD[dtype]
        x = x.where((x > smallest - 1) & (x < largest + 1), torch.zeros((), dtype=source))
    expected, carried = packed_by_ttnn(x, dtype), round_to(x, dtype)
    assert carried.dtype == CARRIER[dtype]
    torch.testing.assert_close(as_host(carried, dtype), expected, rtol=0, atol=0, equal_nan=True)


def test_an_unused_page_reads_minus_one_in_either_integer_format() -> None:
    pages = torch.tensor([[3, -1]])
    for dtype in (ttnn.int32, ttnn.uint32):
        carried = round_to(pages, dtype)
        assert (carried == -1).tolist() == [[False, True]]
        assert torch.nn.functional.embedding(carried.clamp(min=0), torch.eye(4)).argmax(-1).tolist() == [[3, 0]]
    assert as_host(round_to(pages, ttnn.uint32), ttnn.uint32).tolist() == [[3, 2**32 - 1]]


def test_a_format_without_a_carrier_is_named() -> None:
    with pytest.raises(SimulatorError, match=r"FP8_E4M3.*BFLOAT16"):
        round_to(torch.zeros(1, 1), ttnn.fp8_e4m3)
