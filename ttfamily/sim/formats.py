"""Rounding torch tensors to the device's number formats, bit-equal with ttnn's host conversions.

A block float (bfloat8_b, bfloat4_b) gives 16 neighbours along the last dimension one shared
exponent, the largest of theirs, and each of them a sign and 7 or 3 bits of magnitude. Blocks never
cross a row, and a tile's padding is zeros, which leave a shared exponent as it is: so tiles and
faces need not be followed here.

ttnn packs a float in two steps that are both kept here, since they differ from one rounding: the
24-bit significand is shifted to the shared exponent, which cuts bits off, and what is left is
rounded to nearest, ties to even, at most to the largest magnitude (a value never moves up to the
next exponent). Zeros and denormals become +0.
"""

from __future__ import annotations

from itertools import product
from math import prod

import torch
import ttnn

from ttfamily.errors import SimulatorError

# The torch dtype in which the simulated mesh keeps the values of each format.
# - Block floats: all of their values are bfloat16 values, at half the memory of float32.
# - uint32: the same bits as int32. torch's uint32 has hardly any ops; int32 indexes an embedding, and
#   the all-ones word that marks an unused page or slot reads -1, as it does in an int32 tensor. The
#   price: values from 2**31 on read negative.
# - uint16: int32, since an index up to 65535 (topk's) must stay positive.
CARRIER: dict[ttnn.DataType, torch.dtype] = {
    ttnn.bfloat16: torch.bfloat16,
    ttnn.float32: torch.float32,
    ttnn.bfloat8_b: torch.bfloat16,
    ttnn.bfloat4_b: torch.bfloat16,
    ttnn.uint32: torch.int32,
    ttnn.int32: torch.int32,
    ttnn.uint16: torch.int32,
    ttnn.uint8: torch.uint8,
}

BLOCK = 16
SLICE = 1 << 20  # elements rounded at a time: temporaries of a few megabytes, and few thread barriers

# What ttnn packs into blocks as it is; every other dtype becomes bfloat16 first.
PACKED_DIRECTLY = {torch.float32, torch.bfloat16, torch.int32, torch.uint32, torch.uint16, torch.uint8}

# Fields of a float32.
SIGN, EXPONENT, MANTISSA, HIDDEN = -(1 << 31), 0xFF << 23, (1 << 23) - 1, 1 << 23
SIGNIFICAND_BITS = 24
# Scales of blocks with a smaller shared exponent would leave float32's range.
SMALLEST_SCALED = 32 << 23


def round_to(x: torch.Tensor, dtype: ttnn.DataType) -> torch.Tensor:
    """Round to what ``ttnn.from_torch(x, dtype)`` stores, in the format's :data:`CARRIER`.

    Bit-equal with ttnn wherever ttnn's result is defined. A float that an integer format does not hold
    is not: C++ leaves it to the compiler, and ttnn's result depends on the element's place in the
    tensor. Here uint16 and uint8 are clamped, int32 and uint32 become the smallest int32.
    A NaN stays a NaN in bfloat16 and float32, with another payload.

    :param x: any shape (block floats: at least one dimension), strides and dtype; the result has the
        same shape, and is ``x`` itself if there is nothing to do.
    :raises SimulatorError: if the format is none of :data:`CARRIER`.
    """
    if dtype not in CARRIER:
        raise SimulatorError(
            "number format",
            got=str(dtype),
            expected=f"one of {', '.join(sorted(known.name for known in CARRIER))}",
            fix="Convert the tensor to one of these first.",
        )
    if dtype == ttnn.bfloat8_b:
        return round_bfloat8_b(x)
    if dtype == ttnn.bfloat4_b:
        return round_bfloat4_b(x)
    if CARRIER[dtype].is_floating_point:
        return x.to(CARRIER[dtype])
    return _round_to_integer(x, dtype)


def as_host(x: torch.Tensor, dtype: ttnn.DataType) -> torch.Tensor:
    """Turn values in a format's :data:`CARRIER` into the tensor that ``ttnn.to_torch`` returns for it."""
    if dtype in (ttnn.bfloat8_b, ttnn.bfloat4_b):
        return x.float()
    if dtype == ttnn.uint32:
        return x.view(torch.uint32)
    if dtype == ttnn.uint16:
        return x.to(torch.uint16)
    return x


def round_bfloat8_b(x: torch.Tensor) -> torch.Tensor:
    """Round to blocks of 16 with a shared exponent, a sign and 7 bits each (:func:`_round_blocks`)."""
    return _round_blocks(x, magnitude_bits=7)


def round_bfloat4_b(x: torch.Tensor) -> torch.Tensor:
    """Round to blocks of 16 with a shared exponent, a sign and 3 bits each (:func:`_round_blocks`)."""
    return _round_blocks(x, magnitude_bits=3)


def _round_to_integer(x: torch.Tensor, dtype: ttnn.DataType) -> torch.Tensor:
    """Round towards zero; integers wrap."""
    carrier = CARRIER[dtype]
    if x.dtype == carrier and dtype != ttnn.uint16:
        return x
    if x.dtype in (torch.float32, torch.bfloat16):
        # An x86 conversion yields the smallest int32 for a NaN and for what does not fit.
        smallest, limit = -(2.0**31), 2.0**32 if dtype == ttnn.uint32 else 2.0**31
        whole = torch.where((x > smallest) & (x < limit), x, smallest).long()
        if dtype in (ttnn.uint16, ttnn.uint8):
            whole = whole.clamp(0, 0xFFFF if dtype == ttnn.uint16 else 0xFF)
    else:
        whole = x.long()
    return (whole & 0xFFFF if dtype == ttnn.uint16 else whole).to(carrier)


# A outer elements, N the last dimension, C elements inside it (in memory); G blocks of 16 in N


def _round_blocks(x: torch.Tensor, magnitude_bits: int) -> torch.Tensor:
    """Round to a block float.

    :param x: at least one dimension, any strides, any real dtype.
    :returns: bfloat16 of the same shape with the strides' order kept: a transposed weight stays
        transposed in memory. Dimensions that ``x`` expands (stride 0) are expanded in the result.
    """
    if x.dim() == 0:
        raise SimulatorError(
            "block float",
            got="a tensor without dimensions",
            expected="at least one, along which 16 values share an exponent",
            fix="Reshape it to (1, 1).",
        )
    if x.dtype not in PACKED_DIRECTLY:
        x = x.to(torch.bfloat16)
    once = [slice(0, 1) if stride == 0 else slice(None) for stride in x.stride()[:-1]]
    unique = x[tuple(once)]
    strides = unique.stride()
    order = sorted(range(x.dim()), key=lambda dim: -strides[dim])
    in_memory = unique.permute(order)
    split = order.index(x.dim() - 1)
    shape = prod(in_memory.shape[:split]), x.shape[-1], prod(in_memory.shape[split + 1 :])
    source = in_memory.reshape(shape)  # [A, N, C]
    result = torch.empty(shape, dtype=torch.bfloat16)
    for piece in _slices(*shape):
        result[piece] = _round_slice(source[piece], magnitude_bits)
    inverse = sorted(range(x.dim()), key=order.__getitem__)
    return result.view(in_memory.shape).permute(inverse).expand(x.shape)


def _slices(outer: int, length: int, inner: int) -> product[tuple[slice, ...]]:
    """Cut [A, N, C] into pieces of whole blocks and about :data:`SLICE` elements."""
    columns = min(max(inner, 1), SLICE // BLOCK)
    along = min(-(-length // BLOCK), SLICE // (BLOCK * columns)) * BLOCK or BLOCK
    rows = max(1, SLICE // (along * columns))
    steps = (outer, rows), (length, along), (inner, columns)
    return product(*([slice(start, start + step) for start in range(0, size, step)] for size, step in steps))


def _round_slice(x: torch.Tensor, magnitude_bits: int) -> torch.Tensor:
    """Round ``[A, N, C]`` whose blocks lie along N."""
    length, has_low_bits = x.shape[1], x.dtype != torch.bfloat16
    x = x.float()
    if length % BLOCK:
        x = torch.nn.functional.pad(x, (0, 0, 0, -length % BLOCK))
    blocks = x.unflatten(1, (-1, BLOCK))  # [A, G, 16, C]
    shared = (blocks.view(torch.int32) & EXPONENT).amax(2, keepdim=True)  # [A, G, 1, C]
    scalable = (shared == 0) | ((shared >= SMALLEST_SCALED) & (shared < EXPONENT))
    if scalable.all():
        rounded = _round_by_scaling(blocks, shared, magnitude_bits, has_low_bits=has_low_bits)
    else:
        rounded = _round_by_bits(blocks, shared, magnitude_bits)
    return rounded.flatten(1, 2)[:, :length]


def _round_by_scaling(
    blocks: torch.Tensor, shared: torch.Tensor, magnitude_bits: int, *, has_low_bits: bool
) -> torch.Tensor:
    """Round in float32 arithmetic: exact, and several times faster than working on the bits.

    A block is scaled so that its significands are 24-bit integers, cut, rounded and scaled back.
    A block of zeros and denormals is scaled as if it held larger values, which takes it to zero.
    """
    scale = shared.clamp(min=SMALLEST_SCALED)
    # Powers of two made from their exponent: 2**(150 - e) and its inverse, e the shared exponent with its bias.
    significands = blocks * ((277 << 23) - scale).view(torch.float32)
    if has_low_bits:  # of bfloat16 inputs the cut can only reach what rounds to zero
        significands = significands.int().float()
    dropped = SIGNIFICAND_BITS - magnitude_bits
    # Adding 1.5 * 2**23 steps leaves no bits below one step: the sum is rounded to even. It also makes -0 to +0.
    steps = 1.5 * 2.0 ** (23 + dropped)
    largest = 2.0**SIGNIFICAND_BITS - 2.0**dropped
    significands.add_(steps).sub_(steps).clamp_(-largest, largest)
    return significands.mul_((scale - (23 << 23)).view(torch.float32))


def _round_by_bits(blocks: torch.Tensor, shared: torch.Tensor, magnitude_bits: int) -> torch.Tensor:
    """Round on the bits, for every shared exponent; infinities and NaNs are exponent 255 like any other."""
    bits = blocks.view(torch.int32)
    exponent = bits & EXPONENT
    significand = (bits & MANTISSA | HIDDEN) >> ((shared - exponent) >> 23)
    dropped = SIGNIFICAND_BITS - magnitude_bits
    half_up_to_even = (1 << (dropped - 1)) - 1 + (significand >> dropped & 1)
    magnitude = (significand + half_up_to_even >> dropped).clamp(max=(1 << magnitude_bits) - 1)
    magnitude = magnitude * (exponent != 0)
    # As a float the magnitude has its leading bit's exponent: add what its unit is worth to it.
    unit = shared - ((126 + magnitude_bits) << 23)
    value = magnitude.float().view(torch.int32) + unit | bits & SIGN
    high_half = (value * (magnitude != 0) >> 16).to(torch.int16)  # the low half is zeros
    return high_half.view(torch.bfloat16)
