"""Whether a tensor holds weights at all: floating-point numbers, each finite in the format it is put on a device in."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ttfamily.errors import CheckpointError

if TYPE_CHECKING:
    import torch

WEIGHT_DTYPES = ("bfloat16", "float16", "float32", "float64")
LARGEST = (2 - 2**-7) * 2.0**127
"""Of bfloat16; the block formats have its eight bits of exponent, so what fits one fits the others."""


def check_dtype(name: str, dtype: torch.dtype) -> None:
    """Refuse a tensor whose numbers are not the weights themselves.

    :raises CheckpointError: naming it, if it holds integers, booleans or scaled 8-bit numbers.
    """
    kind = str(dtype).removeprefix("torch.")
    if kind not in WEIGHT_DTYPES:
        raise CheckpointError(
            name,
            got=f"values of type {kind}",
            expected=f"weights: {', '.join(WEIGHT_DTYPES)}",
            fix="Take the unquantised checkpoint: config.json has no quantization_config that says what these mean.",
        )


def check_values(name: str, tensor: torch.Tensor) -> None:
    """Refuse a tensor that holds NaN, an infinity, or what becomes one on the device.

    One pass at the memory's speed, which finds the extremes; both are NaN if any value is.

    :raises CheckpointError: naming it.
    """
    if bad := not_finite(tensor):
        raise CheckpointError(
            name,
            got=bad,
            expected=f"finite numbers, none beyond {LARGEST:.3g}, the largest that a device holds",
            fix="Download the file again, or save the weights anew: one such value makes every logit NaN.",
        )


def not_finite(tensor: torch.Tensor) -> str:
    """Return what a tensor holds that no device format does; empty if there is nothing."""
    if tensor.is_meta or not tensor.numel():
        return ""
    strides = tensor.stride()
    as_in_memory = tensor.permute(sorted(range(len(strides)), key=lambda dim: -strides[dim]))  # twenty times quicker
    low, high = map(float, as_in_memory.aminmax())
    if -LARGEST <= low <= high <= LARGEST:
        return ""
    return "NaN among its values" if math.isnan(low) else f"values from {low:g} to {high:g}"
