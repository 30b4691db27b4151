"""Weights cut over the mesh, with the two matmuls that use them: decode and prefill."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
import ttnn

from ttfamily.core.placement import put
from ttfamily.core.precision import ttnn_dtype

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ttfamily.core.plan import Plan
    from ttfamily.core.precision import WeightPrecision

# B users, S tokens; K, N the parts of in_features and out_features on one device


class Linear:
    """``x @ weight + bias``, with one copy of the weight for both phases, sharded over the DRAM banks.

    :param weight: ``[out_features, in_features]``, already padded so that the cut dimension divides
        into whole tiles on every device.
    :param bias: ``[out_features]`` or None.
    :param cut: ``column``: every device makes its own N outputs. ``row``: every device makes a partial
        sum of all outputs, which the caller reduces; the bias is added on the first device only.
    :param beside: tiles on a core of the activations that are alive in decode beside input and output.
    :param cores_in: the cores that decode's input is sharded over, if not as many as K allows.
    :param activation: applied to the output, within the matmul.
    """

    def __init__(
        self,
        plan: Plan,
        who: str,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        cut: Literal["column", "row"],
        precision: WeightPrecision,
        *,
        beside: int,
        cores_in: int | None = None,
        activation: ttnn.UnaryWithParam | None = None,
    ) -> None:
        mesh, programs = plan.mesh, plan.programs
        k = weight.shape[1] // (mesh.num_devices if cut == "row" else 1)
        n = weight.shape[0] // (mesh.num_devices if cut == "column" else 1)
        self.weight = put(
            mesh,
            weight.T[None, None],  # a view: torch keeps [N, K] in memory, as the checkpoint has it
            dtype=ttnn_dtype(precision.format),
            memory_config=programs.bank_sharded(k, n),
            cut={"column": 3, "row": 2}[cut],
        )
        self.decode_bias = self.prefill_bias = None
        if bias is not None:
            if cut == "row":
                bias = torch.cat([bias, bias.new_zeros(bias.shape[0] * (mesh.num_devices - 1))])
            row = bias[None, None, None]
            # The decode matmul reads its bias as it reads its weight, bank by bank; the prefill one does not.
            self.decode_bias = put(mesh, row, dtype=ttnn.bfloat16, cut=3, memory_config=programs.bank_sharded(32, n))
            self.prefill_bias = put(mesh, row, dtype=ttnn.bfloat16, cut=3)
        self.decode_arguments = programs.decode_matmul(
            who, k, n, precision, beside=beside, cores_in=cores_in, activation=activation
        )
        self.prefill_arguments = {
            rows: programs.prefill_matmul(who, rows, k, n, precision, activation) for rows in plan.prefill_lengths
        }

    def decode(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, 1, B, K] -> [1, 1, B, N]``, both width-sharded in L1."""
        return ttnn.linear(x, self.weight, bias=self.decode_bias, **self.decode_arguments)

    def prefill(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, 1, S, K] -> [1, 1, S, N]``, both in DRAM; a long prompt goes through in folds."""
        length = x.shape[2]
        fold, arguments = self.prefill_arguments[length]
        folded = ttnn.reshape(x, (1, length // fold, fold, x.shape[3]))  # [1, S / fold, fold, K]
        out = ttnn.linear(folded, self.weight, bias=self.prefill_bias, **arguments)  # [1, S / fold, fold, N]
        return ttnn.reshape(out, (1, 1, length, out.shape[3]))


class WideLinear:
    """A column-parallel projection too wide for one matmul's L1: several side by side, outputs joined."""

    def __init__(self, parts: Sequence[Linear], output: ttnn.MemoryConfig) -> None:
        self.parts = parts
        self.output = output

    def decode(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, 1, B, K] -> [1, 1, B, N]``; the parts meet in DRAM, which has room for any width."""
        outputs = []
        for part in self.parts:
            sharded = part.decode(x)
            outputs.append(ttnn.sharded_to_interleaved(sharded, ttnn.DRAM_MEMORY_CONFIG))
            ttnn.deallocate(sharded)
        return ttnn.to_memory_config(ttnn.concat(outputs, dim=3), self.output)

    def prefill(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, 1, S, K] -> [1, 1, S, N]``, both in DRAM."""
        return ttnn.concat([part.prefill(x) for part in self.parts], dim=3)


def column_linear(
    plan: Plan,
    who: str,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    precision: WeightPrecision,
    *,
    beside: int,
    activation: ttnn.UnaryWithParam | None = None,
    output: ttnn.MemoryConfig | None = None,
) -> Linear | WideLinear:
    """Make a column-parallel projection of any width.

    :param weight: ``[devices * N, in_features]``, device by device.
    :param bias: ``[devices * N]`` or None.
    :param beside: as for :class:`Linear`.
    :param output: where decode puts what several matmuls made; width-sharded over N's most cores if None.
    """
    devices, programs = plan.mesh.num_devices, plan.programs
    n = weight.shape[0] // devices
    width = programs.columns_at_once(who, weight.shape[1], n, precision, beside=beside)

    def columns(tensor: torch.Tensor) -> Sequence[torch.Tensor]:
        return [part.flatten(0, 1) for part in tensor.unflatten(0, (devices, n)).split(width, 1)]

    weights = columns(weight)
    biases = [None] * len(weights) if bias is None else columns(bias)
    parts = [
        Linear(plan, who, part, shift, "column", precision, beside=beside, activation=activation)
        for part, shift in zip(weights, biases, strict=True)
    ]
    if len(parts) == 1:
        return parts[0]
    return WideLinear(parts, output or programs.width_sharded(n, programs.cores_of(n)))
