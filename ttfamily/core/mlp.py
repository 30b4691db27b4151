"""The feed-forward block: gated (``down(act(gate x) * up x)``) or plain (``down(act(up x))``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ttnn
from torch.nn import functional

from ttfamily.core.ccl import reducer
from ttfamily.core.linear import Linear

if TYPE_CHECKING:
    import torch

    from ttfamily.core.plan import Plan
    from ttfamily.core.weights import Weights

# B users, S tokens, D hidden_size, F intermediate_size on one device

ACTIVATIONS = {"silu": ttnn.UnaryOpType.SILU, "gelu": ttnn.UnaryOpType.GELU, "relu": ttnn.UnaryOpType.RELU}


class GatedMlp:
    """Two column-parallel projections, their product with the activation fused, one row-parallel projection.

    The intermediate size is padded with zeros: ``act(0) * 0`` is 0 and meets zero rows of ``down``.
    """

    def __init__(self, plan: Plan, weights: Weights, layer: int) -> None:
        spec, programs, precision = plan.spec.mlp, plan.programs, plan.precision
        wide, hidden = spec.intermediate_size, plan.spec.hidden_size
        padding = plan.intermediate_size - wide
        both = weights.take("layer.mlp.gate_up", ((wide, hidden), (wide, hidden)), layer, bias=spec.bias)
        down = weights.take("layer.mlp.down", ((hidden, wide),), layer, bias=spec.bias)
        biases = both.bias or (None, None)
        self.gate, self.up = (
            Linear(plan, f"layer {layer} mlp.{name}", _pad_rows(w, padding), _pad_rows(b, padding), "column", precision.gate_up)
            for name, w, b in zip(("gate", "up"), both.weight, biases, strict=True)
        )
        self.down = Linear(
            plan,
            f"layer {layer} mlp.down",
            functional.pad(down.weight[0], (0, padding)) if padding else down.weight[0],
            down.bias and down.bias[0],
            "row",
            precision.down,
        )
        here = plan.intermediate_size // plan.mesh.num_devices
        activation = {"input_tensor_a_activations": [ACTIVATIONS[spec.activation]]}
        self.decode_product = {**activation, "memory_config": programs.width_sharded(here, programs.cores_of(here))}
        self.prefill_product = {**activation, "memory_config": ttnn.DRAM_MEMORY_CONFIG}
        self.decode_reduce = reducer(plan.mesh, programs.width_sharded(hidden, programs.cores_of(hidden)))
        self.prefill_reduce = reducer(plan.mesh, ttnn.DRAM_MEMORY_CONFIG)

    def decode(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, 1, B, D] -> [1, 1, B, D]``, width-sharded in L1."""
        gate = self.gate.decode(x)  # [1, 1, B, F]
        up = self.up.decode(x)  # [1, 1, B, F]
        hidden = ttnn.multiply(gate, up, **self.decode_product)  # [1, 1, B, F]
        ttnn.deallocate(gate), ttnn.deallocate(up)
        partial = self.down.decode(hidden)  # [1, 1, B, D]  partial sums
        ttnn.deallocate(hidden)
        return self.decode_reduce(partial)  # one collective

    def prefill(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, 1, S, D] -> [1, 1, S, D]`` in DRAM."""
        gate = self.gate.prefill(x)  # [1, 1, S, F]
        up = self.up.prefill(x)  # [1, 1, S, F]
        hidden = ttnn.multiply(gate, up, **self.prefill_product)  # [1, 1, S, F]
        ttnn.deallocate(gate), ttnn.deallocate(up)
        partial = self.down.prefill(hidden)  # [1, 1, S, D]  partial sums
        ttnn.deallocate(hidden)
        return self.prefill_reduce(partial)  # one collective


def _pad_rows(tensor: torch.Tensor | None, rows: int) -> torch.Tensor | None:
    if tensor is None or rows == 0:
        return tensor
    return functional.pad(tensor, (0, 0, 0, rows) if tensor.dim() == 2 else (0, rows))  # noqa: PLR2004
