"""Large products on any CPU: right, and every row by itself. Both kinds of CPU are tried on this one."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from ttfamily import cpu
from ttfamily.testing.operands import assert_rounded
from ttfamily.testing.strategies import SEEDS

if TYPE_CHECKING:
    from collections.abc import Iterator

ROWS = st.one_of(st.integers(1, 12), st.sampled_from([32, 40, 64, 96, 300]))
WIDTHS = st.sampled_from([32, 96, 160, 512, 1999])
DTYPES = st.sampled_from([torch.bfloat16, torch.float32])


@pytest.fixture(scope="module", params=[True, False], ids=["this CPU", "one without bfloat16 instructions"])
def kind(request: pytest.FixtureRequest) -> Iterator[None]:
    as_it_is = cpu.multiplies_bfloat16()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu, "multiplies_bfloat16", lambda: request.param and as_it_is)
        yield


@pytest.fixture(scope="module")
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def operands(m: int, k: int, n: int, dtype: torch.dtype, seed: int) -> tuple[torch.Tensor, ...]:
    numbers = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(*shape, generator=numbers).bfloat16().to(dtype) for shape in ((m, k), (n, k), (n,)))


@given(m=ROWS, k=WIDTHS, n=WIDTHS, dtype=DTYPES, rows_first=st.booleans(), seed=SEEDS)
def test_a_linear_layer_is_the_product_rounded_once(
    kind: None, m: int, k: int, n: int, dtype: torch.dtype, rows_first: bool, seed: int
) -> None:
    x, weight, bias = operands(m, k, n, dtype, seed)
    out = cpu.linear(x, weight if rows_first else weight.T.contiguous().T, bias)
    assert out.dtype == dtype
    assert_rounded(out, x.double() @ weight.double().T + bias.double(), 1 if dtype == torch.bfloat16 else 2**-12)


@given(m=ROWS, k=WIDTHS, n=WIDTHS, dtype=DTYPES, seed=SEEDS)
def test_a_batched_product_is_the_product_rounded_once(
    kind: None, m: int, k: int, n: int, dtype: torch.dtype, seed: int
) -> None:
    a, b = (torch.stack(pair) for pair in zip(*(operands(m, k, n, dtype, seed + i)[:2] for i in (0, 1)), strict=True))
    out = cpu.matmul(a, b.mT)
    assert out.dtype == dtype
    assert_rounded(out, a.double() @ b.double().mT, 1 if dtype == torch.bfloat16 else 2**-12)


# torch's own float32 product of 6 rows fails this with two threads, that of 2 rows with one.
@given(m=ROWS, k=WIDTHS, n=WIDTHS, dtype=DTYPES, rows_first=st.booleans(), seed=SEEDS)
@example(m=6, k=512, n=160, dtype=torch.float32, rows_first=True, seed=0)
@example(m=2, k=512, n=1999, dtype=torch.float32, rows_first=False, seed=0)
def test_a_row_depends_on_no_other_row_and_not_on_its_place(
    kind: None, two_threads: None, m: int, k: int, n: int, dtype: torch.dtype, rows_first: bool, seed: int
) -> None:
    x, weight, _ = operands(m, k, n, dtype, seed)
    weight = weight if rows_first else weight.T.contiguous().T
    order = torch.randperm(m, generator=torch.Generator().manual_seed(seed))
    others = torch.randn_like(x)
    others[m // 2] = x[m // 2]
    for product in (cpu.linear, lambda x, weight: cpu.matmul(x[None], weight.T[None])[0]):
        out = product(x, weight)
        assert torch.equal(product(x[order], weight), out[order])
        assert torch.equal(product(others, weight)[m // 2], out[m // 2])


def test_products_leave_the_number_of_threads_as_it_was(kind: None, two_threads: None) -> None:
    x, weight, _ = operands(9, 32, 32, torch.float32, 0)
    cpu.linear(x, weight)
    with pytest.raises(RuntimeError):
        cpu.matmul(x, weight[:, :-1].T)
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(("rows", "dtype"), [(1, torch.bfloat16), (cpu.FEW_ROWS + 1, torch.float32)])
def test_a_cpu_held_to_avx2_widens_a_weight_for_many_rows_only(rows: int, dtype: torch.dtype) -> None:
    script = f"from ttfamily import cpu; print(cpu.multiplies_bfloat16(), cpu.product_dtype({rows}))"
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    run = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", str(dtype)]
