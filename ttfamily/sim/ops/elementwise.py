"""Elementwise arithmetic, activations and casts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import ttnn
from torch.nn import functional

from ttfamily.errors import SimulatorError
from ttfamily.sim.formats import CARRIER, round_to
from ttfamily.sim.row import in_place, no_products, once, op

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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
            fix="Add it to ACTIVATIONS in ttfamily/sim/ops/elementwise.py, with its test.",
        )
    return ACTIVATIONS[kind](x.float())


def _operands(a: Cell | float, b: Cell | float, *activations: Any) -> list[Any]:
    """Return both operands with their activations applied; numbers stay numbers."""
    values = [side if isinstance(side, (int, float)) else side.read() for side in (a, b)]
    rank = max(value.dim() for value in values if isinstance(value, torch.Tensor))
    out = []
    for value, chain in zip(values, activations, strict=True):
        side = value
        if isinstance(side, torch.Tensor):  # the mesh stays in front of what broadcasting puts there
            side = side.reshape(*side.shape[:2], *[1] * (rank - side.dim()), *side.shape[2:])
            side = side.float() if side.is_floating_point() else side
        for activation in chain or ():
            side = activate(torch.as_tensor(side), activation)
        out.append(side)
    return out


def _binary(name: str, function: Callable[[Any, Any], torch.Tensor]) -> None:
    def run(
        a: Cell | float,
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

    run.__name__ = name
    op(name, moves=once, multiplies=no_products)(run)


@op("add_", moves=in_place, multiplies=no_products)
def add_in_place(a: Cell, b: Cell) -> Cell:
    """A + b, into a's buffer."""
    total = a.read().float() + b.read().float()
    a.own(*total.shape[:2]).copy_(round_to(total, a.dtype))
    return a


_binary("add", lambda a, b: a + b)
_binary("subtract", lambda a, b: a - b)
_binary("multiply", lambda a, b: a * b)


@op("typecast", moves=once, multiplies=no_products)
def typecast(x: Cell, dtype: ttnn.DataType) -> torch.Tensor:
    """Convert between formats: the interpreter rounds to the output's."""
    value = x.read()
    if value.is_floating_point() and not CARRIER[dtype].is_floating_point:
        raise SimulatorError(
            "ttnn.typecast",
            got=f"floats to convert to {dtype.name}",
            expected="a float format: the chip rounds or cuts off, differently for every integer format",
            fix="Add the rule to ttfamily/sim/ops/elementwise.py, and its test.",
        )
    return value


@op("unary_chain", moves=once, multiplies=no_products)
def unary_chain(x: Cell, ops_chain: Sequence[Any]) -> torch.Tensor:
    """Apply activations one after the other."""
    value = x.read()
    for activation in ops_chain:
        value = activate(value, activation)
    return value
