"""The feed-forward block: gated (``down(act(gate x) * up x)``) or plain (``down(act(up x))``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ttnn
from torch.nn import functional

from ttfamily.core.blocks.ccl import sum_columns
from ttfamily.core.blocks.linear import Linear, WideLinear, column_linear

if TYPE_CHECKING:
    import torch

    from ttfamily.core.layout.plan import Plan
    from ttfamily.core.weights.rules import Weights

# B users, S tokens, D hidden_size, F intermediate_size on one device

ACTIVATIONS = {
    "silu": ttnn.UnaryWithParam(ttnn.UnaryOpType.SILU),
    "gelu": ttnn.UnaryWithParam(ttnn.UnaryOpType.GELU, 0.0),  # 0: exact; the default is a table of line segments
    "gelu_tanh": ttnn.UnaryWithParam(ttnn.UnaryOpType.GELU_TANH),
    "relu": ttnn.UnaryWithParam(ttnn.UnaryOpType.RELU),
}


class _Down:
    """The row-parallel projection that ends both kinds: partial sums, for the layer to add up over the devices."""

    def __init__(self, plan: Plan, weights: Weights, layer: int) -> None:
        spec, hidden = plan.spec.mlp, plan.spec.hidden_size
        weight = weights.take("layer.mlp.down", ((hidden, spec.intermediate_size),), layer, bias=spec.bias, cut="row")
        padded = _padded(plan, weight.weight[0].T).T
        bias = None if weight.bias is None else weight.bias[0]
        # Beside it: the residual, and the holes of what its input was made of.
        made_of = 2 * plan.programs.shard_tiles(plan.mlp_width)
        self.linear = Linear(
            plan,
            f"layer {layer} mlp.down",
            padded,
            bias,
            "row",
            plan.precision.of(layer).down,
            beside=plan.residual_tiles + made_of,
        )

    def decode(self, hidden: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, 1, B, F] -> [1, 1, B, D]`` partial sums; frees its input."""
        partial = self.linear.decode(hidden)  # [1, 1, B, D]
        ttnn.deallocate(hidden)
        return partial

    def prefill(self, hidden: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, 1, S, F] -> [1, 1, S, D]`` partial sums; frees its input."""
        partial = self.linear.prefill(hidden)  # [1, 1, S, D]
        ttnn.deallocate(hidden)
        return partial


class GatedMlp:
    """Two column-parallel projections, their product with the activation fused, one row-parallel projection.

    The intermediate size is padded with zeros, which meet zero columns of ``down``.
    """

    def __init__(self, plan: Plan, weights: Weights, layer: int) -> None:
        spec, programs = plan.spec.mlp, plan.programs
        shape = (spec.intermediate_size, plan.spec.hidden_size)
        both = weights.take("layer.mlp.gate_up", (shape, shape), layer, bias=spec.bias, cut="column")
        self.gate, self.up = (
            _projection(plan, layer, name, w, b)
            for name, w, b in zip(("gate", "up"), both.weight, both.bias or (None, None), strict=True)
        )
        self.down = _Down(plan, weights, layer)
        self.sum_columns = sum_columns(plan.mesh)
        activation = {"input_tensor_a_activations": [ACTIVATIONS[spec.activation]]}
        self.decode_product = {**activation, "memory_config": programs.spread_out(plan.mlp_width)}
        self.prefill_product = {**activation, "memory_config": ttnn.DRAM_MEMORY_CONFIG}

    def decode(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, 1, B, D] -> [1, 1, B, D]`` partial sums, width-sharded in L1; frees its input."""
        gate = self.sum_columns(self.gate.decode(x))  # [1, 1, B, F]
        up = self.sum_columns(self.up.decode(x))  # [1, 1, B, F]
        ttnn.deallocate(x)
        hidden = ttnn.multiply(gate, up, **self.decode_product)  # [1, 1, B, F]
        ttnn.deallocate(gate), ttnn.deallocate(up)
        return self.down.decode(hidden)

    def prefill(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, 1, S, D] -> [1, 1, S, D]`` partial sums in DRAM; frees its input."""
        gate = self.sum_columns(self.gate.prefill(x))  # [1, 1, S, F]
        up = self.sum_columns(self.up.prefill(x))  # [1, 1, S, F]
        ttnn.deallocate(x)
        hidden = ttnn.multiply(gate, up, **self.prefill_product)  # [1, 1, S, F]
        ttnn.deallocate(gate), ttnn.deallocate(up)
        return self.down.prefill(hidden)


class PlainMlp:
    """One column-parallel projection, one row-parallel projection.

    The activation is fused into the first, unless that makes partial sums: then it comes behind their sum.
    The intermediate size is padded with zeros, and every activation here keeps zero.
    """

    def __init__(self, plan: Plan, weights: Weights, layer: int) -> None:
        spec = plan.spec.mlp
        shape = (spec.intermediate_size, plan.spec.hidden_size)
        up = weights.take("layer.mlp.up", (shape,), layer, bias=spec.bias, cut="column")
        bias = None if up.bias is None else up.bias[0]
        activation = ACTIVATIONS[spec.activation]
        self.whole = plan.mesh.hidden_parallel == 1
        fused = activation if self.whole else None
        self.up = _projection(plan, layer, "up", up.weight[0], bias, fused)
        self.sum_columns = sum_columns(plan.mesh)
        self.activation = [activation]
        self.down = _Down(plan, weights, layer)

    def decode(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, 1, B, D] -> [1, 1, B, D]`` partial sums, width-sharded in L1; frees its input."""
        hidden = self._activated(self.up.decode(x))  # [1, 1, B, F]
        ttnn.deallocate(x)
        return self.down.decode(hidden)

    def prefill(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, 1, S, D] -> [1, 1, S, D]`` partial sums in DRAM; frees its input."""
        hidden = self._activated(self.up.prefill(x))  # [1, 1, S, F]
        ttnn.deallocate(x)
        return self.down.prefill(hidden)

    def _activated(self, hidden: ttnn.Tensor) -> ttnn.Tensor:
        if self.whole:
            return hidden
        total = self.sum_columns(hidden)
        activated = ttnn.unary_chain(total, self.activation, memory_config=total.memory_config())
        ttnn.deallocate(total)
        return activated


MLPS: dict[str, type[GatedMlp | PlainMlp]] = {"gated": GatedMlp, "plain": PlainMlp}


def _projection(
    plan: Plan,
    layer: int,
    name: str,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    activation: ttnn.UnaryWithParam | None = None,
) -> Linear | WideLinear:
    """Make a projection to the padded intermediate size."""
    shift = None if bias is None else _padded(plan, bias)
    # Beside it: the residual, and the gate while the other projection runs.
    beside = plan.residual_tiles + plan.programs.shard_tiles(plan.mlp_width)
    who, precision = f"layer {layer} mlp.{name}", plan.precision.of(layer).gate_up
    return column_linear(plan, who, _padded(plan, weight), shift, precision, beside=beside, activation=activation)


def _padded(plan: Plan, tensor: torch.Tensor) -> torch.Tensor:
    """Pad the first dimension, ``intermediate_size``, to the plan's."""
    if tensor.shape[0] == plan.intermediate_size:
        return tensor
    return functional.pad(tensor, (0, 0) * (tensor.dim() - 1) + (0, plan.intermediate_size - tensor.shape[0]))
