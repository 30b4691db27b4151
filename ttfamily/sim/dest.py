"""Sums as the matrix engine makes them (``numerics="engine"``): 16 products at a time, into Dst.

An instruction adds 16 products of one phase to Dst, which is bfloat16 or float32. A tile of 32 is two of them, for
every phase of the fidelity in turn; tile follows tile. A long sum comes in blocks of tiles: with ``packer_l1_acc`` a
block begins a new sum and L1 adds up the blocks, in the same format; the last is added in Dst.

Sources: ``MVMUL.md`` of tt-isa-documentation, which calls its order of additions a rough guide;
``llk_math_matmul.h`` (a tile's instructions are repeated for each phase) and
``bmm_large_block_zm_fused_bias_activation.cpp`` (blocks) of the wheel. Here the 16 products are added exactly and
rounded to float32 once. A fused bias is added in float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ttfamily.tiles import TILE, tiles

if TYPE_CHECKING:
    import ttnn

    from ttfamily.sim.fidelity import Engine

AT_ONCE = 16  # products that one instruction adds


def summed(
    a: torch.Tensor,
    b: torch.Tensor,
    formats: tuple[ttnn.DataType, ttnn.DataType],
    engine: Engine,
    *,
    block: int | None = None,
    bias: bool = False,
) -> torch.Tensor:
    """Return ``a @ b``, float32 whose values Dst holds.

    :param a: ``[..., M, K]``, values of the first format.
    :param b: ``[..., K, N]``, values of the second.
    :param block: tiles of K in a block; all if None.
    :param bias: whether a bias follows, for which the last block is added in L1 too.
    """
    pairs = list(
        zip(
            (_whole_tiles(part, -1) for part in engine.by_phase(a, formats[0], "activations")),
            (_whole_tiles(part, -2) for part in engine.by_phase(b, formats[1], "weights")),
            strict=True,
        )
    )
    count = tiles(a.shape[-1])
    starts = range(0, count, block or count)
    in_l1 = engine.l1_sums and len(starts) > (1 if bias else 2)
    total = dst = torch.zeros(())
    for start in starts:
        last = start == starts[-1] and not bias
        dst = total if in_l1 and last else torch.zeros(()) if in_l1 else dst
        for tile in range(start, min(start + starts.step, count)):
            for left, right in pairs:
                for first in (tile * TILE, tile * TILE + AT_ONCE):
                    products = left[..., first : first + AT_ONCE] @ right[..., first : first + AT_ONCE, :]
                    dst = in_dst(dst + products.float(), engine)
        if in_l1:
            total = dst if last else in_dst(total + dst, engine)
    return total if in_l1 else dst


def in_dst(x: torch.Tensor, engine: Engine) -> torch.Tensor:
    """Round float32 to what Dst holds."""
    return x if engine.fp32_dest else x.bfloat16().float()


def _whole_tiles(x: torch.Tensor, dim: int) -> torch.Tensor:
    """Return it in float64, in which 16 products add up exactly, with zeros up to a whole tile."""
    missing = -x.shape[dim] % TILE
    return torch.nn.functional.pad(x.double(), (0, missing) if dim == -1 else (0, 0, 0, missing))
