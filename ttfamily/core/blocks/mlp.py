"""The feed-forward block: gated (``down(act(gate x) * up x)``) or plain (``down(act(up x))``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ttnn
from torch.nn import functional

from ttfamily.core.blocks.block import Block
from ttfamily.core.blocks.collectives import sum_columns
from ttfamily.core.blocks.linear import Linear, WideLinear, column_linear

if TYPE_CHECKING:
    import torch

    from ttfamily.core.layout.plan import Plan
    from ttfamily.core.weights.weights import Weights

# B users, S tokens, D hidden_size, F intermediate_size on one device

GATE_UP, UP, DOWN = "layer.mlp.gate_up", "layer.mlp.up", "layer.mlp.down"
ACTIVATIONS = {
    "silu": ttnn.UnaryWithParam(ttnn.UnaryOpType.SILU),
    "gelu": ttnn.UnaryWithParam(ttnn.UnaryOpType.GELU, 0.0),  # 0: exact; the default is a table of line segments
    "gelu_tanh": ttnn.UnaryWithParam(ttnn.UnaryOpType.GELU_TANH),
    "relu": ttnn.UnaryWithParam(ttnn.UnaryOpType.RELU),
}


class _Down(Block):
    """The row-parallel projection that ends both kinds: partial sums, for the layer to add up over the devices.

    :param live_tiles: L1 tiles a core that other live tensors hold while it decodes.
    """

    def __init__(self, plan: Plan, layer: int, live_tiles: int) -> None:
        self.plan, self.layer = plan, layer
        self.linear = Linear(
            plan,
            "mlp.down",
            slot=DOWN,
            layer=layer,
            in_features=plan.intermediate_size,
            out_features=plan.spec.hidden_size,
            cut="row",
            precision=plan.precision.of(layer).down,
            bias=plan.spec.mlp.bias,
            live_tiles=live_tiles,
        )

    def load(self, weights: Weights) -> None:
        """Take the weight, and the bias if there is one."""
        spec = self.plan.spec.mlp
        shape = (self.plan.spec.hidden_size, spec.intermediate_size)
        taken = weights.take(DOWN, (shape,), self.layer, bias=spec.bias, cut="row")
        self.linear.fill(_padded(self.plan, taken.weight[0].T).T, None if taken.bias is None else taken.bias[0])

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


class GatedMlp(Block):
    """Two column-parallel projections, their product with the activation fused, one row-parallel projection.

    The intermediate size is padded with zeros, which meet zero columns of ``down``.

    :param live_tiles: L1 tiles a core that other live tensors hold while it decodes.
    """

    def __init__(self, plan: Plan, layer: int, live_tiles: int) -> None:
        self.plan, self.layer = plan, layer
        one = plan.programs.shard_tiles(plan.mlp_width)
        self.gate = _projection(plan, layer, "gate", GATE_UP, live_tiles + one)
        self.up = _projection(plan, layer, "up", GATE_UP, live_tiles + one)  # the gate
        self.down = _Down(plan, layer, live_tiles + 2 * one)  # the gaps that gate and up leave
        self.sum_columns = sum_columns(plan, plan.mlp_width)
        activation = {"input_tensor_a_activations": [ACTIVATIONS[plan.spec.mlp.activation]]}
        self.decode_product = {**activation, "memory_config": plan.programs.spread_out(plan.mlp_width)}
        self.prefill_product = {**activation, "memory_config": ttnn.DRAM_MEMORY_CONFIG}

    def load(self, weights: Weights) -> None:
        """Take the projections."""
        spec = self.plan.spec.mlp
        shape = (spec.intermediate_size, self.plan.spec.hidden_size)
        both = weights.take(GATE_UP, (shape, shape), self.layer, bias=spec.bias, cut="column")
        biases = both.bias or (None, None)
        for linear, weight, bias in zip((self.gate, self.up), both.weight, biases, strict=True):
            linear.fill(_padded(self.plan, weight), None if bias is None else _padded(self.plan, bias))
        self.down.load(weights)

    def decode(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, 1, B, D] -> [1, 1, B, D]`` partial sums, width-sharded in L1; frees its input."""
        gate = self.sum_columns.decode(self.gate.decode(x))  # [1, 1, B, F]
        up = self.sum_columns.decode(self.up.decode(x))  # [1, 1, B, F]
        ttnn.deallocate(x)
        hidden = ttnn.multiply(gate, up, **self.decode_product)  # [1, 1, B, F]
        ttnn.deallocate(gate), ttnn.deallocate(up)
        return self.down.decode(hidden)

    def prefill(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, 1, S, D] -> [1, 1, S, D]`` partial sums in DRAM; frees its input."""
        gate = self.sum_columns.prefill(self.gate.prefill(x))  # [1, 1, S, F]
        up = self.sum_columns.prefill(self.up.prefill(x))  # [1, 1, S, F]
        ttnn.deallocate(x)
        hidden = ttnn.multiply(gate, up, **self.prefill_product)  # [1, 1, S, F]
        ttnn.deallocate(gate), ttnn.deallocate(up)
        return self.down.prefill(hidden)

    @property
    def prefill_columns(self) -> int:
        """At a projection, at its sum, at the product, or at the last projection.

        The gap that the input leaves is too narrow for the product, unless that is narrower than the input.
        """
        plan, wide, read = self.plan, self.plan.mlp_width, self.plan.prefill.read_width
        gap = read if wide > read else 0
        return max(
            read + self.gate.prefill_columns,
            read + wide + self.up.prefill_columns,
            plan.partial_width + wide + self.sum_columns.prefill.columns,
            gap + 3 * wide,
            wide + plan.partial_width,
        )


class PlainMlp(Block):
    """One column-parallel projection, one row-parallel projection.

    The activation is fused into the first, unless that makes partial sums: then it comes after their sum.
    The intermediate size is padded with zeros, and every activation here keeps zero.

    :param live_tiles: L1 tiles a core that other live tensors hold while it decodes.
    """

    def __init__(self, plan: Plan, layer: int, live_tiles: int) -> None:
        self.plan, self.layer = plan, layer
        one = plan.programs.shard_tiles(plan.mlp_width)
        activation = ACTIVATIONS[plan.spec.mlp.activation]
        self.whole = plan.mesh.hidden_parallel == 1
        self.up = _projection(plan, layer, "up", UP, live_tiles + one, activation if self.whole else None)
        self.down = _Down(plan, layer, live_tiles + 2 * one)  # the gaps of the sum and of what is activated
        self.sum_columns = sum_columns(plan, plan.mlp_width)
        self.activation = [activation]

    def load(self, weights: Weights) -> None:
        """Take the projections."""
        spec = self.plan.spec.mlp
        shape = (spec.intermediate_size, self.plan.spec.hidden_size)
        up = weights.take(UP, (shape,), self.layer, bias=spec.bias, cut="column")
        self.up.fill(_padded(self.plan, up.weight[0]), None if up.bias is None else _padded(self.plan, up.bias[0]))
        self.down.load(weights)

    def decode(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, 1, B, D] -> [1, 1, B, D]`` partial sums, width-sharded in L1; frees its input."""
        hidden = self._activated(self.sum_columns.decode(self.up.decode(x)))  # [1, 1, B, F]
        ttnn.deallocate(x)
        return self.down.decode(hidden)

    def prefill(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, 1, S, D] -> [1, 1, S, D]`` partial sums in DRAM; frees its input."""
        hidden = self._activated(self.sum_columns.prefill(self.up.prefill(x)))  # [1, 1, S, F]
        ttnn.deallocate(x)
        return self.down.prefill(hidden)

    def _activated(self, total: ttnn.Tensor) -> ttnn.Tensor:
        if self.whole:  # within the matmul
            return total
        activated = ttnn.unary_chain(total, self.activation, memory_config=total.memory_config())
        ttnn.deallocate(total)
        return activated

    @property
    def prefill_columns(self) -> int:
        """At the first projection, at its sum, where it is activated, or at the last projection."""
        plan, wide, read = self.plan, self.plan.mlp_width, self.plan.prefill.read_width
        return max(
            read + self.up.prefill_columns,
            plan.partial_width + self.sum_columns.prefill.columns,
            read + (1 if self.whole else 2) * wide,
            read + wide + (plan.partial_width if plan.partial_width > read else 0),
            wide + plan.partial_width,
        )


MLPS: dict[str, type[GatedMlp | PlainMlp]] = {"gated": GatedMlp, "plain": PlainMlp}


def _projection(
    plan: Plan, layer: int, name: str, slot: str, live_tiles: int, activation: ttnn.UnaryWithParam | None = None
) -> Linear | WideLinear:
    """Make a projection to the padded intermediate size."""
    return column_linear(
        plan,
        f"mlp.{name}",
        slot=slot,
        layer=layer,
        in_features=plan.spec.hidden_size,
        out_features=plan.intermediate_size,
        precision=plan.precision.of(layer).gate_up,
        bias=plan.spec.mlp.bias,
        live_tiles=live_tiles,
        activation=activation,
    )


def _padded(plan: Plan, tensor: torch.Tensor) -> torch.Tensor:
    """Pad the first dimension, ``intermediate_size``, to the plan's."""
    if tensor.shape[0] == plan.intermediate_size:
        return tensor
    return functional.pad(tensor, (0, 0) * (tensor.dim() - 1) + (0, plan.intermediate_size - tensor.shape[0]))
