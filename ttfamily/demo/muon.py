"""Muon: momentum made orthogonal, for the matrices of the demo's decoder, in the arithmetic that this CPU is good at.

Source: K. Jordan and others, "Muon: An optimizer for hidden layers in neural networks" (2024), with the learning
rate scaled as in "Muon is Scalable for LLM Training" (2025, section 2.2). torch.optim.Muon is the same, in bfloat16
only: on a CPU without bfloat16 instructions its products take 50 times as long as in float32.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from ttfamily.cpu import product_dtype

if TYPE_CHECKING:
    from collections.abc import Iterable

MOMENTUM = 0.95
ROUNDS = 5
LINEAR, CUBIC, QUINTIC = 3.4445, -4.7750, 2.0315  # of the polynomial that each round applies to the singular values
LEAST_NORM = 1e-7
LIKE_ADAMW = 0.2  # root mean square of AdamW's updates


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum and without weight decay.

    :param matrices: parameters of two dimensions; their products are in whichever dtype this CPU multiplies faster.
    """

    def __init__(self, matrices: Iterable[torch.nn.Parameter]) -> None:
        super().__init__(matrices, {"lr": 0.0})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # a closure is not needed
        """Move every matrix against its orthogonal momentum."""
        for group in self.param_groups:
            for matrix in group["params"]:
                past = self.state[matrix].setdefault("momentum", torch.zeros_like(matrix))
                past.lerp_(matrix.grad, 1 - MOMENTUM)
                update = orthogonal(matrix.grad.lerp(past, MOMENTUM), product_dtype(len(matrix)))
                matrix.add_(update, alpha=-group["lr"] * LIKE_ADAMW * math.sqrt(max(matrix.shape)))


def orthogonal(matrix: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return the matrix with singular values near 1, by :data:`ROUNDS` Newton-Schulz rounds in ``dtype``.

    :param matrix: ``[M, N]``.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).to(dtype)  # [m, n], m the smaller
    x = x / x.norm().clamp(min=LEAST_NORM)  # no singular value above 1
    for _ in range(ROUNDS):
        square = x @ x.T  # [m, m]
        x = torch.addmm(x, torch.addmm(square, square, square, beta=CUBIC, alpha=QUINTIC), x, beta=LINEAR)
    return x.T if tall else x
