"""RMS and layer normalisation, whole and distributed over the mesh."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ttfamily.sim.kernels import kernel

if TYPE_CHECKING:
    from ttfamily.sim.tensor import Cell


def _affine(x: torch.Tensor, weight: Cell | None, bias: Cell | None) -> torch.Tensor:
    # Weights come as [.., W / 32, 32] sticks or as a [.., 1, W] row: both are W values in order.
    for parameter, apply in ((weight, torch.mul), (bias, torch.add)):
        if parameter is not None:
            value = parameter.read().float()
            x = apply(x, value.reshape(*value.shape[:2], *[1] * (x.dim() - 3), -1))
    return x


def _residual(x: Cell, residual: Cell | None) -> torch.Tensor:
    value = x.read().float()
    return value if residual is None else value + residual.read().float()


@kernel("rms_norm")
def rms_norm(
    x: Cell,
    *,
    epsilon: float = 1e-12,
    weight: Cell | None = None,
    bias: Cell | None = None,
    residual_input_tensor: Cell | None = None,
) -> torch.Tensor:
    """``x / sqrt(mean(x^2) + epsilon) * weight + bias`` over the last dimension."""
    value = _residual(x, residual_input_tensor)
    scaled = value * torch.rsqrt(value.square().mean(-1, keepdim=True) + epsilon)
    return _affine(scaled, weight, bias)


@kernel("layer_norm")
def layer_norm(
    x: Cell,
    *,
    epsilon: float = 1e-12,
    weight: Cell | None = None,
    bias: Cell | None = None,
    residual_input_tensor: Cell | None = None,
) -> torch.Tensor:
    """``(x - mean) / sqrt(var + epsilon) * weight + bias`` over the last dimension."""
    value = _residual(x, residual_input_tensor)
    centred = value - value.mean(-1, keepdim=True)
    scaled = centred * torch.rsqrt(centred.square().mean(-1, keepdim=True) + epsilon)
    return _affine(scaled, weight, bias)
