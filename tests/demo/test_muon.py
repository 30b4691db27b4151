"""The demo's Muon against torch's, which has bfloat16 only, and against what orthogonal means."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ttfamily.demo.muon import Muon, orthogonal
from ttfamily.testing.strategies import SEEDS

SIZES = st.sampled_from([8, 32, 48, 96])
DTYPES = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])


@given(m=SIZES, n=SIZES, seed=SEEDS)
def test_in_bfloat16_it_steps_as_torch_does(m: int, n: int, seed: int) -> None:
    numbers = torch.Generator().manual_seed(seed)
    ours, theirs = (torch.nn.Parameter(torch.ones(m, n)) for _ in range(2))
    optimizers = Muon([ours]), torch.optim.Muon(
        [theirs], weight_decay=0.0, adjust_lr_fn="match_rms_adamw"
    )  # fmt: skip
    for rate in (0.01, 0.02):
        ours.grad = torch.randn(m, n, generator=numbers)
        theirs.grad = ours.grad.clone()
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = rate
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("ttfamily.demo.muon.product_dtype", lambda _rows: torch.bfloat16)
                optimizer.step()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2**-12)


@DTYPES
@given(m=SIZES, n=SIZES, seed=SEEDS)
def test_the_singular_values_come_near_one_and_the_directions_stay(
    dtype: torch.dtype, m: int, n: int, seed: int
) -> None:
    numbers = torch.Generator().manual_seed(seed)
    left, right = (torch.linalg.qr(torch.randn(size, size, generator=numbers)).Q for size in (m, n))
    values = torch.linspace(0.2, 1.0, min(m, n))
    x = left[:, : len(values)] * values @ right[:, : len(values)].T
    found = left.T @ orthogonal(x, dtype).float() @ right
    diagonal = found.diagonal().clone()
    assert 0.6 < diagonal.min() <= diagonal.max() < 1.3
    assert found.fill_diagonal_(0).abs().max() < 0.1
