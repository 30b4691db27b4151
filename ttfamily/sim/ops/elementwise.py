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
    ttnn.UnaryOpType.RELU6: functional.relu6,
    ttnn.UnaryOpType.SIGMOID: torch.sigmoid,
    ttnn.UnaryOpType.HARDSIGMOID: functional.hardsigmoid,
    ttnn.UnaryOpType.TANH: torch.tanh,
    ttnn.UnaryOpType.MISH: functional.mish,
    ttnn.UnaryOpType.SQRT: torch.sqrt,
}
# Parameters with which an activation is the exact function, as ttnn makes them of its name ("sigmoid").
EXACT: dict[Any, list[float]] = {
    ttnn.UnaryOpType.GELU: [0.0],
    ttnn.UnaryOpType.SIGMOID: [4.0, 0.0],  # of the whole tile, not approximate
    ttnn.UnaryOpType.TANH: [0.0],
    ttnn.UnaryOpType.MISH: [0.0],
    ttnn.UnaryOpType.SQRT: [0.0],
}


def activate(x: torch.Tensor, activation: Any) -> torch.Tensor:
    """Apply a fused activation: None, a ``ttnn.UnaryOpType``, a ``ttnn.UnaryWithParam`` or the name of one."""
    if activation is None:
        return x
    if isinstance(activation, str):
        activation = ttnn._ttnn.activation.string_to_unary_with_param(activation)  # noqa: SLF001 -- has no other name
    kind = getattr(activation, "op_type", activation)
    # GELU's parameter asks for a table of six line segments, which is not simulated; without one, that is the default.
    given = list(getattr(activation, "params", []))
    table = kind == ttnn.UnaryOpType.GELU and given != EXACT[kind]
    if kind not in ACTIVATIONS or table or (given and given != EXACT.get(kind)):
        raise SimulatorError(
            "fused activation",
            got=f"{kind}{' as a table' if table else f' with the parameters {given}' if given else ''}",
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
    """Convert between formats: the interpreter rounds to the output's.

    Floats become integers as ttnn's golden function has it of the chip, which cuts off or rounds by the format.
    """
    value = x.read()
    if value.is_floating_point() and not CARRIER[dtype].is_floating_point:
        golden = ttnn.get_golden_function(ttnn.typecast)
        whole: torch.Tensor = golden(
            value.float(), dtype, _ttnn_input_dtype=x.dtype, _ttnn_arch_name=ttnn.get_arch_name()
        )
        return whole
    if x.dtype == ttnn.uint32 and CARRIER[dtype].is_floating_point:
        return value.long() & 0xFFFFFFFF  # the carrier's negative numbers are those from 2**31 on
    return value


@op("unary_chain", moves=once, multiplies=no_products)
def unary_chain(x: Cell, ops_chain: Sequence[Any]) -> torch.Tensor:
    """Apply activations one after the other."""
    value = x.read()
    for activation in ops_chain:
        value = activate(value, activation)
    return value
