"""Matrix products, with bias and fused activation."""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING, Any

import torch
import ttnn

from ttfamily import cpu
from ttfamily.matmul_buffers import decode_buffers, prefill_buffers
from ttfamily.sim.dest import summed
from ttfamily.sim.fidelity import cut_weights, joined, matmul_engine
from ttfamily.sim.ops.elementwise import activate
from ttfamily.sim.row import moved, op
from ttfamily.tiles import tiles

if TYPE_CHECKING:
    from ttfamily.arch import Arch
    from ttfamily.sim.facts import Op
    from ttfamily.sim.mock_mesh import Numerics
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
    compute_kernel_config: Any = None,
    core_grid: Any = None,
    dtype: ttnn.DataType | None = None,
    numerics: Numerics = "fast",
    arch: Arch = "wormhole_b0",
) -> torch.Tensor:
    """``[..., M, K] @ [..., K, N] + [..., 1, N]`` on every device, with the program's or the call's activation.

    Sums are float32 and rounded once, whatever Dst is, unless the numerics are the engine's.
    """
    laid_out = program_config is not None or core_grid is not None
    engine = matmul_engine(compute_kernel_config, a.dtype, b.dtype, dtype or a.dtype, arch, laid_out=laid_out)
    left, right = a.read(), b.read()
    if numerics == "engine":
        left, right = left.mT if transpose_a else left, right.mT if transpose_b else right
        block, biased = getattr(program_config, "in0_block_w", None), bias is not None
        out = summed(left, right, (a.dtype, b.dtype), engine, block=block, bias=biased)
        out = out if bias is None else out + bias.read().float()
    else:
        left = joined(engine.terms(left, a.dtype, "activations"), -2 if transpose_a else -1)
        right = cut_weights(right, b.dtype, engine, -1 if transpose_b else -2)
        left, right = left.mT if transpose_a else left, right.mT if transpose_b else right
        out = _product(left, right, None if bias is None else bias.read(), wide=dtype == ttnn.float32)
    out = activate(out, getattr(program_config, "fused_activation", None))
    return activate(out, activation)


def _product(left: torch.Tensor, right: torch.Tensor, bias: torch.Tensor | None, *, wide: bool) -> torch.Tensor:
    """Multiply device by device: in bfloat16 with float32 sums; in float32 only where a format asks for it."""
    wide = wide or torch.float32 in (left.dtype, right.dtype)
    operands = [left, right] if bias is None else [left, right, bias]
    operands = [operand.to(torch.float32 if wide else torch.bfloat16) for operand in operands]
    rows, cols = (max(operand.shape[i] for operand in operands) for i in (0, 1))
    one = [_one_device(*(_at(operand, r, c) for operand in operands)) for r, c in product(range(rows), range(cols))]
    out = one[0][None] if len(one) == 1 else torch.stack(one)
    return out.reshape(rows, cols, *one[0].shape)


def _at(value: torch.Tensor, row: int, col: int) -> torch.Tensor:
    """Return the local tensor of one device."""
    return value[min(row, value.shape[0] - 1), min(col, value.shape[1] - 1)]


def _one_device(a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    if b.numel() == b.shape[-1] * b.shape[-2]:  # a weight: one product over all rows, [N, K]-contiguous for the CPU
        weight = b.reshape(b.shape[-2:]).T
        row = None if bias is None else bias.reshape(-1)
        # With two dimensions torch adds the bias before it rounds, as the chip does.
        return cpu.linear(a.flatten(0, -2), weight, row).reshape(*a.shape[:-1], -1)
    out = cpu.matmul(a, b)
    return out if bias is None else out + bias
