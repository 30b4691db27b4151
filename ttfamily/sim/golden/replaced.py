"""Our own references for ops whose golden function in ttnn 0.81 fails or is wrong: the same arguments, in torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch


def acosh_bw(grad_tensor: torch.Tensor, input_tensor: torch.Tensor) -> list[torch.Tensor]:
    """``grad / sqrt(x^2 - 1)``; ttnn's asks for a device with methods that no device has."""
    return [grad_tensor * (input_tensor.square() - 1).rsqrt()]


REPLACED: Mapping[str, Callable[..., list[torch.Tensor]]] = {"acosh_bw": acosh_bw}
"""Op without ``ttnn.`` -> its reference."""
