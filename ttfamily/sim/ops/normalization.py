"""RMS and layer normalisation, whole and distributed over the mesh."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ttfamily.sim.row import no_products, once, op
from ttfamily.tiles import TILE

if TYPE_CHECKING:
    from ttfamily.sim.tensor import Cell


def _affine(x: torch.Tensor, weight: Cell | None, bias: Cell | None) -> torch.Tensor:
    # Weights come as [.., W / 32, 32] sticks or as a [.., 1, W] row, both of them W values in order, or as tiles of
    # width W, of which the kernel takes the first row.
    for parameter, apply in ((weight, torch.mul), (bias, torch.add)):
        if parameter is not None:
            value = parameter.read().float()
            if value.dim() > 3 and value.shape[-1] == x.shape[-1]:  # noqa: PLR2004 -- the mesh and one dimension
                value = value[..., :1, :]
            x = apply(x, value.reshape(*value.shape[:2], *[1] * (x.dim() - 3), -1))
    return x


def _residual(x: Cell, residual: Cell | None) -> torch.Tensor:
    value = x.read().float()
    return value if residual is None else value + residual.read().float()


@op("rms_norm", moves=once, multiplies=no_products)
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


@op("layer_norm", moves=once, multiplies=no_products)
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


# Distributed: each device's statistics stand in the first column of a 32-wide tile; the rest of it is padding.


@op("rms_norm_pre_all_gather", moves=once, multiplies=no_products)
def rms_norm_pre_all_gather(x: Cell) -> torch.Tensor:
    """The sum of the squares of a device's part: ``[.., W] -> [.., 32]``."""
    return _in_first_columns(x.read().float().square().sum(-1))


@op("layer_norm_pre_all_gather", moves=once, multiplies=no_products)
def layer_norm_pre_all_gather(x: Cell) -> torch.Tensor:
    """The sums of the squares and of the values of a device's part: ``[.., W] -> [.., 64]``."""
    value = x.read().float()
    return _in_first_columns(value.square().sum(-1), value.sum(-1))


@op("rms_norm_post_all_gather", moves=once, multiplies=no_products)
def rms_norm_post_all_gather(
    x: Cell, stats: Cell, *, epsilon: float = 1e-12, weight: Cell | None = None, bias: Cell | None = None
) -> torch.Tensor:
    """``x / sqrt(mean square + epsilon) * weight + bias``, by the statistics of all devices."""
    (square,) = _means(x, stats, 1)
    return _affine(x.read().float() * torch.rsqrt(square + epsilon), weight, bias)


@op("layer_norm_post_all_gather", moves=once, multiplies=no_products)
def layer_norm_post_all_gather(
    x: Cell, stats: Cell, *, epsilon: float = 1e-12, weight: Cell | None = None, bias: Cell | None = None
) -> torch.Tensor:
    """``(x - mean) / sqrt(mean square - mean^2 + epsilon) * weight + bias``, by the statistics of all devices."""
    square, mean = _means(x, stats, 2)
    return _affine((x.read().float() - mean) * torch.rsqrt(square - mean.square() + epsilon), weight, bias)


def _in_first_columns(*numbers: torch.Tensor) -> torch.Tensor:
    tiles = [torch.nn.functional.pad(number[..., None], (0, TILE - 1), value=float("nan")) for number in numbers]
    return torch.cat(tiles, -1)


def _means(x: Cell, stats: Cell, numbers: int) -> list[torch.Tensor]:
    """``[.., devices * numbers * 32]`` -> for each number the mean over the whole width, ``[.., 1]``."""
    sums = stats.read().float()[..., ::TILE].unflatten(-1, (-1, numbers))  # [.., devices, numbers]
    width = x.read().shape[-1] * sums.shape[-2]
    return [total[..., None] / width for total in sums.sum(-2).unbind(-1)]
