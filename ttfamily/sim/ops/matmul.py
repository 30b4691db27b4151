"""Matrix products, with bias and fused activation."""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING, Any

import torch
import ttnn

from ttfamily import cpu
from ttfamily.matmul_buffers import decode_buffers, prefill_buffers
from ttfamily.sim.ops.elementwise import activate
from ttfamily.sim.row import moved, op
from ttfamily.tiles import tiles

if TYPE_CHECKING:
    from ttfamily.sim.facts import Op
    from ttfamily.sim.row import DecodePoint, Moved
    from ttfamily.sim.tensor import Cell


def _moves(call: Op, _point: DecodePoint) -> Moved:
    """A weight is read again for every fold of a long prompt."""
    folds = math.prod(call.input(0).shape[:-2])
    return moved(call, read={label: folds * tensor.bytes for label, tensor in call.inputs.items() if label != "0"})


def _products(call: Op) -> float:
    """Tile products of the busiest core; 0 without a program config, whose cores and blocks ttnn chooses."""
    x, weight = call.input(0), call.input(1)
    inner = tiles(x.shape[-1])
    if call.bank_sharded:  # one core a bank, or several that share it
        width = weight.bytes // (weight.cores * inner * weight.tile_bytes)
        return call.config["per_core_M"] * width * inner / call.config["num_workers_per_dram_bank"]
    if "per_core_M" in call.config:
        return math.prod(x.shape[:-2]) * call.config["per_core_M"] * call.config["per_core_N"] * inner
    return 0.0


def _buffers(call: Op) -> int | None:
    """Bytes of the busiest core's L1, which ttnn's graph does not name for a program config of the core's."""
    if "in0_block_w" not in call.config:
        return None
    weight, block, bias = call.input(1), call.config["in0_block_w"], "bias" in call.inputs
    if call.bank_sharded:  # its cores are the banks'
        return decode_buffers(block, -(-tiles(weight.shape[-1]) // weight.cores), weight.tile_bytes, bias=bias)
    return prefill_buffers(call.config["per_core_M"], block, call.config["per_core_N"], weight.tile_bytes, bias=bias)


@op("matmul", "linear", moves=_moves, multiplies=_products, buffers=_buffers)
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
    added = None if bias is None else bias.read().to(left.dtype)
    operands = [left, right] if added is None else [left, right, added]
    rows, cols = (max(operand.shape[i] for operand in operands) for i in (0, 1))
    one = [_one_device(_at(left, r, c), _at(right, r, c), None if added is None else _at(added, r, c))
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
        row = None if bias is None else bias.reshape(-1)
        # With two dimensions torch adds the bias before it rounds, as the chip does.
        return cpu.linear(a.flatten(0, -2), weight, row).reshape(*a.shape[:-1], -1)
    out = cpu.matmul(a, b)
    return out if bias is None else out + bias
