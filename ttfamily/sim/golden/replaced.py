"""Our own references for ops whose golden function in ttnn 0.81 fails or is wrong: the same arguments, in torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def acosh_bw(grad_tensor: torch.Tensor, input_tensor: torch.Tensor) -> list[torch.Tensor]:
    """``grad / sqrt(x^2 - 1)``; ttnn's asks for a device with methods that no device has."""
    return [grad_tensor * (input_tensor.square() - 1).rsqrt()]


# N batch_size, H input_h, W input_w, C channels; ttnn's ask for a package of its tests, which its wheel does not have.


def max_pool2d(
    input_tensor: torch.Tensor,
    batch_size: int,
    input_h: int,
    input_w: int,
    channels: int,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool = False,
) -> torch.Tensor:
    """Maximum of each window: ``[1, 1, N * H * W, C]`` to the same of fewer places."""
    image = _image(input_tensor, batch_size, input_h, input_w, channels)
    image = functional.pad(image, _sides(padding), value=-torch.inf)
    size, step, spread = _pair(kernel_size), _pair(stride), _pair(dilation)
    return _rows(functional.max_pool2d(image, size, step, dilation=spread, ceil_mode=ceil_mode))


def avg_pool2d(
    input_tensor: torch.Tensor,
    batch_size: int,
    input_h: int,
    input_w: int,
    channels: int,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> torch.Tensor:
    """Mean of each window: ``[1, 1, N * H * W, C]`` to the same of fewer places."""
    image = _image(input_tensor, batch_size, input_h, input_w, channels)
    left, right, top, bottom = _sides(padding)
    if (left, top) != (right, bottom):
        raise ValueError("padding that differs on opposite sides")
    return _rows(
        functional.avg_pool2d(
            image, _pair(kernel_size), _pair(stride), (top, left), ceil_mode, count_include_pad, divisor_override
        )
    )


def _image(rows: torch.Tensor, batch: int, height: int, width: int, channels: int) -> torch.Tensor:
    return rows.reshape(batch, height, width, channels).permute(0, 3, 1, 2)


def _rows(image: torch.Tensor) -> torch.Tensor:
    return image.permute(0, 2, 3, 1).reshape(1, 1, -1, image.shape[1])


def _pair(numbers: Sequence[int]) -> tuple[int, int]:
    first, second = numbers
    return first, second


def _sides(padding: Sequence[int]) -> tuple[int, int, int, int]:
    """Ttnn's (height, width) or (top, bottom, left, right), as torch's (left, right, top, bottom)."""
    numbers = list(padding)
    top, bottom, left, right = numbers if len(numbers) == 4 else (numbers[0],) * 2 + (numbers[1],) * 2  # noqa: PLR2004
    return left, right, top, bottom


REPLACED: Mapping[str, Callable[..., Any]] = {
    "acosh_bw": acosh_bw,
    "avg_pool2d": avg_pool2d,
    "max_pool2d": max_pool2d,
}
"""Op without ``ttnn.`` -> its reference."""
