"""Matrix products, with bias and fused activation."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import torch
import ttnn
from torch.nn import functional

from ttfamily.sim.kernels import kernel
from ttfamily.sim.kernels.elementwise import activate

if TYPE_CHECKING:
    from ttfamily.sim.tensor import Cell


@kernel("matmul", "linear")
def matmul(
    a: Cell,
    b: Cell,
    *,
    bias: Cell | None = None,
    transpose_a: bool = False,
    transpose_b: bool = False,
    activation: Any = None,
    program_config: Any = None,
    dtype: ttnn.DataType | None = None,
) -> torch.Tensor:
    """``[..., M, K] @ [..., K, N] + [..., 1, N]`` on every device, with the program's or the call's activation."""
    left, right = a.read(), b.read()
    left = left.mT if transpose_a else left
    right = right.mT if transpose_b else right
    # bf16 products with float32 sums, as the matrix engine has them; float32 only where a format asks for it.
    wide = torch.float32 in (left.dtype, right.dtype) or dtype == ttnn.float32
    left, right = (t.float() if wide else t for t in (left, right))
    shift = None if bias is None else bias.read().to(left.dtype)
    operands = [left, right] if shift is None else [left, right, shift]
    rows, cols = (max(operand.shape[i] for operand in operands) for i in (0, 1))
    one = [_one_device(_at(left, r, c), _at(right, r, c), None if shift is None else _at(shift, r, c))
           for r, c in product(range(rows), range(cols))]  # fmt: skip
    out = one[0][None] if len(one) == 1 else torch.stack(one)
    out = activate(out.reshape(rows, cols, *one[0].shape), getattr(program_config, "fused_activation", None))
    return activate(out, activation)


def _at(value: torch.Tensor, row: int, col: int) -> torch.Tensor:
    """Return the local tensor of one device."""
    return value[min(row, value.shape[0] - 1), min(col, value.shape[1] - 1)]


def _one_device(a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    if b.numel() == b.shape[-1] * b.shape[-2]:  # a weight: one product over all rows, [N, K]-contiguous for the CPU
        weight = b.reshape(b.shape[-2:]).T
        shift = None if bias is None else bias.reshape(-1)
        # With two dimensions torch adds the bias before it rounds, as the chip does.
        return functional.linear(a.flatten(0, -2), weight, shift).reshape(*a.shape[:-1], -1)
    out = torch.matmul(a, b)
    return out if bias is None else out + bias
