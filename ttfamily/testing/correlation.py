"""Pearson correlation, the measure by which a device's numbers are compared with Hugging Face's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ttfamily.testing.tally import RUN

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_SCALE_ERROR = 0.05
MARGIN = 2  # times what bfloat16 itself loses, where it loses more than the bound allows
MOST = 10  # times what the bound allows: a config of which bfloat16 loses more is no test of anything


def pcc(got: torch.Tensor, want: torch.Tensor) -> float:
    """Return the Pearson correlation coefficient of two tensors, over all their elements, in float64.

    :param got: any shape and dtype, at least one element.
    :param want: of the same shape.
    :returns: -1 to 1; NaN if an element of either is not finite. Where one of them does not vary, no
        correlation is defined: 1 if the two are equal, else 0.
    """
    a, b = (t.detach().flatten().double() for t in (got, want))
    if torch.equal(a, b):
        return 1.0
    if not (a.isfinite().all() and b.isfinite().all()):
        return float("nan")
    a, b = a - a.mean(), b - b.mean()
    norms = float(a.norm() * b.norm())
    return float(a @ b) / norms if norms else 0.0


def assert_pcc(
    got: torch.Tensor, want: torch.Tensor, at_least: float, *, bfloat16: Callable[[], float] | None = None
) -> None:
    """Fail unless ``got`` correlates with ``want`` and has its magnitude.

    Correlation does not see a wrong factor, so the norms must agree too, within 5 %.

    :param bfloat16: returns the correlation that Hugging Face's own module has in bfloat16; called only where the
        bound is missed. Where that misses the bound too, ``got`` may lose :data:`MARGIN` times what it loses, but
        never more than :data:`MOST` times what the bound allows. A norm that is off is never excused.
    :raises AssertionError: with both shapes, the correlation, and the worst element and its place.
    """
    __tracebackhide__ = True
    if tuple(got.shape) != tuple(want.shape):
        raise AssertionError(f"got shape {list(got.shape)}, want {list(want.shape)}")
    found = pcc(got, want)
    RUN.compared(found)
    scale = _scale(got, want)
    right_norm = abs(scale - 1) <= MAX_SCALE_ERROR
    if found >= at_least and right_norm:
        return
    theirs = ""
    if right_norm and bfloat16 is not None:
        reached = bfloat16()
        if reached < at_least and 1 - found <= min(MARGIN * (1 - reached), MOST * (1 - at_least)):
            RUN.excused()
            return
        theirs = f" (Hugging Face in bfloat16 has {reached:.6f})"
    raise AssertionError(
        f"PCC {found:.6f}, want at least {at_least}{theirs}; norm {scale:.4f} of what it should be (within "
        f"{MAX_SCALE_ERROR}); shape {list(want.shape)}; {_worst(got, want)}"
    )


def _scale(got: torch.Tensor, want: torch.Tensor) -> float:
    a, b = (float(t.detach().double().norm()) for t in (got, want))
    return a / b if b else 1.0 + a


def _worst(got: torch.Tensor, want: torch.Tensor) -> str:
    """Name the element that is furthest off; one that is not finite is worse than any that is."""
    a, b = got.detach().double(), want.detach().double()
    error = (a - b).abs().nan_to_num(nan=torch.inf)
    flat = int(error.argmax())
    place = [int(i) for i in torch.unravel_index(torch.tensor(flat), error.shape)]
    odd = int((~a.isfinite()).sum())
    tail = f"; {odd} of {a.numel()} elements are not finite" if odd else ""
    return f"worst at {place}: got {float(a.flatten()[flat]):.6g}, want {float(b.flatten()[flat]):.6g}{tail}"
