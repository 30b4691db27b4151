"""What this machine's CPU multiplies well: the one place that chooses the arithmetic of large products.

A CPU with bfloat16 instructions (AVX512_BF16, AMX) multiplies bfloat16 two to three times as fast as float32.
One without them, an AVX2 desktop say, has slow loops for it. GFLOP/s of one core of an EPYC held to AVX2, for
``[rows, 1024] @ [1024, 1024]``; a bfloat16 weight whose rows are not contiguous, and any other bfloat16 product,
reach 1 to 3:

==== ======== ======= =========================
rows bfloat16 float32 float32, widened per call
==== ======== ======= =========================
   1       21      25                        11
   4       20      25                        17
   8       20      39                        30
  32       20      71                        58
 128       19      94                        90
==== ======== ======= =========================

So there a weight is widened where many rows share the cost, and not for a few: no second copy is kept.

Whatever the CPU, a row of a product must not depend on its place among the rows nor on what stands in the others:
users' numbers would depend on their slots. torch's float32 products break that with more than one thread (where a
thread's share of 6 rows ends, other code adds in another order), and for 2 or 3 rows on one. So they are computed by
one thread, in whole blocks of 8 rows. tests/test_cpu.py holds :func:`linear` and :func:`matmul` to it.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Iterator

FEW_ROWS = 4  # up to here widening a weight takes longer than the slow loops over it
ROW_BLOCK = 8


@cache
def multiplies_bfloat16() -> bool:
    """Whether bfloat16 products run in instructions made for them.

    It takes both: a CPU that has them, and a oneDNN that may use them (``ONEDNN_MAX_CPU_ISA=AVX2`` forbids it).
    A oneDNN held to AVX512 without bfloat16 is not told apart: it is half as fast as float32 there.
    """
    has_instructions = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()  # noqa: SLF001
    return bool(has_instructions and torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001


def product_dtype(rows: int) -> torch.dtype:
    """Return the dtype to keep a model's weights in that multiplies them with ``rows`` rows fastest on this CPU."""
    return torch.bfloat16 if multiplies_bfloat16() or rows <= FEW_ROWS else torch.float32


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """``x @ weight.T + bias`` with sums in float32, rounded once.

    :param x: ``[M, K]``, float32 or bfloat16.
    :param weight: ``[N, K]`` of the same dtype; fastest with contiguous rows.
    :param bias: ``[N]`` of the same dtype, added before the result is rounded.
    :returns: ``[M, N]`` of that dtype.
    """
    few = x.shape[0] <= FEW_ROWS and weight.stride(-1) == 1
    if x.dtype == torch.bfloat16 and (few or multiplies_bfloat16()):
        return functional.linear(x, weight, bias)
    with one_thread():
        out = functional.linear(_whole_blocks(x), weight.float(), None if bias is None else bias.float())
    return out[: x.shape[0]].to(x.dtype)


def matmul(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """``a @ b`` with sums in float32, rounded once.

    :param a: ``[..., M, K]``, float32 or bfloat16.
    :param b: ``[..., K, N]`` of the same dtype.
    """
    if a.dtype == torch.bfloat16 and multiplies_bfloat16():
        return torch.matmul(a, b)
    with one_thread():
        out = torch.matmul(_whole_blocks(a), b.float())
    return out[..., : a.shape[-2], :].to(a.dtype)


def _whole_blocks(x: torch.Tensor) -> torch.Tensor:
    """Return it in float32, with rows of zeros up to a whole block."""
    missing = -x.shape[-2] % ROW_BLOCK
    return functional.pad(x.float(), (0, 0, 0, missing)) if missing else x.float()


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread."""
    threads = torch.get_num_threads()
    if threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
