"""Elementwise arithmetic, activations and casts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import ttnn
from torch.nn import functional

from ttfamily.errors import SimulatorError
from ttfamily.sim.kernels import kernel

if TYPE_CHECKING:
    from collections.abc import Callable

    from ttfamily.sim.tensor import Cell

ACTIVATIONS: dict[Any, Callable[[torch.Tensor], torch.Tensor]] = {
    ttnn.UnaryOpType.SILU: functional.silu,
    ttnn.UnaryOpType.GELU: functional.gelu,
    ttnn.UnaryOpType.RELU: functional.relu,
}
NAMES = {"silu": ttnn.UnaryOpType.SILU, "gelu": ttnn.UnaryOpType.GELU, "relu": ttnn.UnaryOpType.RELU}


def activate(x: torch.Tensor, activation: Any) -> torch.Tensor:
    """Apply a fused activation: None, a name, a ``ttnn.UnaryOpType`` or a ``ttnn.UnaryWithParam``."""
    if activation is None:
        return x
    kind = getattr(activation, "op_type", activation)
    kind = NAMES.get(kind, kind) if isinstance(kind, str) else kind
    if kind not in ACTIVATIONS:
        raise SimulatorError(
            "fused activation",
            got=str(activation),
            expected=f"one of {sorted(NAMES)}",
            fix="Add it to ACTIVATIONS in ttfamily/sim/kernels/elementwise.py.",
        )
    return ACTIVATIONS[kind](x.float())


def _operands(a: Cell, b: Cell | float, a_activations: Any, b_activations: Any) -> tuple[torch.Tensor, Any]:
    left = a.read()
    right = b if isinstance(b, (int, float)) else b.read()
    for activation in a_activations or ():
        left = activate(left, activation)
    for activation in b_activations or ():
        right = activate(torch.as_tensor(right), activation)
    if left.is_floating_point():
        left = left.float()
    return left, right.float() if isinstance(right, torch.Tensor) and right.is_floating_point() else right


def _binary(name: str, function: Callable[[Any, Any], torch.Tensor]) -> None:
    def run(
        a: Cell,
        b: Cell | float,
        *,
        activations: Any = None,
        input_tensor_a_activations: Any = None,
        input_tensor_b_activations: Any = None,
        dtype: ttnn.DataType | None = None,  # noqa: ARG001  (the interpreter rounds to the real output's)
    ) -> torch.Tensor:
        out = function(*_operands(a, b, input_tensor_a_activations, input_tensor_b_activations))
        for activation in activations or ():
            out = activate(out, activation)
        return out

    kernel(name)(run)


_binary("add", lambda a, b: a + b)
_binary("subtract", lambda a, b: a - b)
_binary("multiply", lambda a, b: a * b)


def _unary(name: str, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
    def run(x: Cell) -> torch.Tensor:
        return function(x.read().float())

    kernel(name)(run)


_unary("silu", functional.silu)
_unary("relu", functional.relu)


@kernel("gelu")
def gelu(x: Cell, *, fast_and_approximate_mode: bool = False) -> torch.Tensor:
    """GELU; the fast mode is a lookup table on the chip, which is not simulated."""
    if fast_and_approximate_mode:
        raise SimulatorError(
            "ttnn.gelu",
            got="fast_and_approximate_mode=True",
            expected="the exact mode",
            fix="Add the table to ttfamily/sim/kernels/elementwise.py.",
        )
    return functional.gelu(x.read().float())


@kernel("typecast")
def typecast(x: Cell, dtype: ttnn.DataType) -> torch.Tensor:  # noqa: ARG001
    """Convert between formats: the interpreter rounds to the output's."""
    return x.read()
