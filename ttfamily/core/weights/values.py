"""Whether a tensor holds weights at all: floating-point numbers, each finite in the format it is put on a device in."""

from __future__ import annotations

import torch

from ttfamily.errors import CheckpointError

WEIGHT_DTYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64)


def check_dtype(name: str, dtype: torch.dtype) -> None:
    """Refuse a tensor whose numbers are not the weights themselves.

    :raises CheckpointError: naming it, if it holds integers, booleans or scaled 8-bit numbers.
    """
    if dtype not in WEIGHT_DTYPES:
        raise CheckpointError(
            name,
            got=f"values of type {_name(dtype)}",
            expected=f"weights, one of {', '.join(map(_name, WEIGHT_DTYPES))}",
            fix="Take the unquantised checkpoint: config.json has no quantization_config that says what these mean.",
        )


def check_values(name: str, tensor: torch.Tensor) -> None:
    """Refuse a tensor that holds NaN, an infinity, or what becomes one on the device.

    One pass of the memory's speed, which finds the extremes; either is NaN if any value is. bfloat16 and the block
    formats all have its eight bits of exponent, so what fits one fits the others.

    :raises CheckpointError: naming it.
    """
    if bad := not_finite(tensor):
        raise CheckpointError(
            name,
            got=bad,
            expected="finite numbers, of which the largest that a device holds is 3.39e38",
            fix="Download the file again, or save the weights anew: one such value makes every logit NaN.",
        )


def not_finite(tensor: torch.Tensor) -> str:
    """Return what a tensor holds that no device format does; empty if there is nothing."""
    if tensor.is_meta or not tensor.numel():
        return ""
    low, high = (float(each) for each in torch.aminmax(tensor))
    if torch.tensor([low, high], dtype=torch.float64).to(torch.bfloat16).isfinite().all():
        return ""
    return "NaN among its values" if low != low else f"values from {low:g} to {high:g}"  # noqa: PLR0124 -- NaN differs


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
