"""Weights cut over the mesh, with the two matmuls that use them: decode and prefill."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
import ttnn

from ttfamily.core.config.precision import ttnn_dtype
from ttfamily.core.mesh.placement import Sharding, put
from ttfamily.tiles import TILE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ttfamily.core.config.precision import WeightPrecision
    from ttfamily.core.layout.plan import Plan

# B users, S tokens; K, N the parts of in_features and out_features on one device

# Of a weight [1, 1, K, N].
WEIGHTS = {
    "column": Sharding(tensor=3, hidden=2),
    "row": Sharding(tensor=2, hidden=3),
    "head": Sharding(tensor=3, hidden=3),
}


class Linear:
    """``x @ weight + bias``, with one copy of the weight for both phases, sharded over the DRAM banks.

    :param weight: ``[out_features, in_features]``, already padded so that a dimension that is cut divides
        into whole tiles on every device.
    :param bias: ``[out_features]`` or None.
    :param cut: ``column``: outputs along the tensor axis, inputs along the hidden axis. ``row``: inputs along
        the tensor axis, outputs along the hidden axis. ``head``: outputs along both axes. Where inputs are
        cut, devices make partial sums, which the caller adds up; a bias is added on the first of them only.
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
        cut: Literal["column", "row", "head"],
        precision: WeightPrecision,
        *,
        beside: int,
        cores_in: int | None = None,
        activation: ttnn.UnaryWithParam | None = None,
    ) -> None:
        mesh, programs = plan.mesh, plan.programs
        tensor, hidden = mesh.tensor_parallel, mesh.hidden_parallel
        k = weight.shape[1] // {"column": hidden, "row": tensor, "head": 1}[cut]
        n = weight.shape[0] // {"column": tensor, "row": hidden, "head": tensor * hidden}[cut]
        self.weight = put(
            mesh,
            weight.T[None, None],  # a view: torch keeps [N, K] in memory, as the checkpoint has it
            dtype=ttnn_dtype(precision.format),
            memory_config=programs.bank_sharded(k, n),
            sharding=WEIGHTS[cut],
        )
        self.decode_bias = self.prefill_bias = None
        if bias is not None:
            # One copy for the devices that make a sum's first part, zeros for the others.
            parts, bias_sharding = {
                "column": (hidden, Sharding(tensor=3, hidden=0)),
                "row": (tensor, Sharding(tensor=0, hidden=3)),
                "head": (1, Sharding(tensor=3, hidden=3)),
            }[cut]
            row = torch.cat([bias[None], bias.new_zeros(parts - 1, len(bias))])[:, None, None]
            # The decode matmul reads its bias as it reads its weight, bank by bank; the prefill one does not.
            banks = programs.bank_sharded(TILE, n)
            self.decode_bias = put(mesh, row, dtype=ttnn.bfloat16, sharding=bias_sharding, memory_config=banks)
            self.prefill_bias = put(mesh, row, dtype=ttnn.bfloat16, sharding=bias_sharding)
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
    cut: Literal["column", "head"] = "column",
    activation: ttnn.UnaryWithParam | None = None,
    output: ttnn.MemoryConfig | None = None,
) -> Linear | WideLinear:
    """Make a projection of any width whose outputs are cut over the devices.

    :param weight: ``[devices * N, in_features]``, device by device.
    :param bias: ``[devices * N]`` or None.
    :param beside: as for :class:`Linear`.
    :param output: where decode puts what several matmuls made; width-sharded over N's most cores if None.
    """
    mesh, programs = plan.mesh, plan.programs
    devices = mesh.tensor_parallel * (mesh.hidden_parallel if cut == "head" else 1)
    n, k = weight.shape[0] // devices, weight.shape[1] // (mesh.hidden_parallel if cut == "column" else 1)
    width = programs.columns_at_once(who, k, n, precision, beside=beside)

    def columns(tensor: torch.Tensor) -> Sequence[torch.Tensor]:
        return [part.flatten(0, 1) for part in tensor.unflatten(0, (devices, n)).split(width, 1)]

    weights = columns(weight)
    biases = [None] * len(weights) if bias is None else columns(bias)
    parts = [
        Linear(plan, who, part, shift, cut, precision, beside=beside, activation=activation)
        for part, shift in zip(weights, biases, strict=True)
    ]
    if len(parts) == 1:
        return parts[0]
    return WideLinear(parts, output or programs.spread_out(n))
