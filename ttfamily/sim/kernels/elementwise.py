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
    ttnn.UnaryOpType.GELU_TANH: lambda x: functional.gelu(x, approximate="tanh"),
    ttnn.UnaryOpType.RELU: functional.relu,
}


def activate(x: torch.Tensor, activation: Any) -> torch.Tensor:
    """Apply a fused activation: None, a ``ttnn.UnaryOpType`` or a ``ttnn.UnaryWithParam``."""
    if activation is None:
        return x
    kind = getattr(activation, "op_type", activation)
    # GELU's parameter asks for a table of six line segments, which is not simulated; without one, that is the default.
    table = kind == ttnn.UnaryOpType.GELU and list(getattr(activation, "params", [1.0])) != [0.0]
    if kind not in ACTIVATIONS or table:
        raise SimulatorError(
            "fused activation",
            got=f"{kind}{' as a table' if table else ''}",
            expected=f"one of {', '.join(str(known) for known in ACTIVATIONS)} (GELU exact: UnaryWithParam(GELU, 0.0))",
            fix="Add it to ACTIVATIONS in ttfamily/sim/kernels/elementwise.py, with its test.",
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


@kernel("typecast")
def typecast(x: Cell, dtype: ttnn.DataType) -> torch.Tensor:  # noqa: ARG001
    """Convert between formats: the interpreter rounds to the output's."""
    return x.read()
