"""Weights cut over the mesh, with the two matmuls that use them: decode and prefill."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
import ttnn

from ttfamily.core.blocks.block import Block
from ttfamily.core.blocks.parameter import Parameter
from ttfamily.core.mesh.placement import Sharding
from ttfamily.tiles import TILE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ttfamily.core.config.precision import WeightPrecision
    from ttfamily.core.layout.plan import Plan

Cut = Literal["column", "row", "head"]

# B users, S tokens; K, N the parts of in_features and out_features on one device

# Of a weight [1, 1, K, N].
WEIGHTS = {
    "column": Sharding(tensor=3, hidden=2),
    "row": Sharding(tensor=2, hidden=3),
    "head": Sharding(tensor=3, hidden=3),
}
# Of a bias [parts, 1, 1, N]: one copy for the devices that make a sum's first part, zeros for the others.
BIASES = {
    "column": Sharding(tensor=3, hidden=0),
    "row": Sharding(tensor=0, hidden=3),
    "head": Sharding(tensor=3, hidden=3),
}


class Linear(Block):
    """``x @ weight + bias``, with one copy of the weight for both phases, sharded over the DRAM banks.

    :param name: for messages, ``attention.qkv``.
    :param slot: whose weights it has.
    :param in_features: of all devices, padded so that each one's part is whole tiles.
    :param out_features: the same.
    :param cut: ``column``: outputs along the tensor axis, inputs along the hidden axis. ``row``: inputs along
        the tensor axis, outputs along the hidden axis. ``head``: outputs along both axes. Where inputs are
        cut, devices make partial sums, which the caller adds up; a bias is added on the first of them only.
    :param bias: whether it has one.
    :param live_tiles: L1 tiles a core that other live tensors hold in decode: all but input and output.
    :param cores_in: the cores that decode's input is sharded over, if not as many as K allows.
    :param activation: applied to the output, within the matmul.
    """

    def __init__(
        self,
        plan: Plan,
        name: str,
        *,
        slot: str,
        layer: int | None,
        in_features: int,
        out_features: int,
        cut: Cut,
        precision: WeightPrecision,
        bias: bool,
        live_tiles: int,
        cores_in: int | None = None,
        activation: ttnn.UnaryWithParam | None = None,
    ) -> None:
        mesh, programs = plan.mesh, plan.programs
        tensor, hidden = mesh.tensor_parallel, mesh.hidden_parallel
        k = in_features // {"column": hidden, "row": tensor, "head": 1}[cut]
        n = out_features // {"column": tensor, "row": hidden, "head": tensor * hidden}[cut]
        self.weight = Parameter(
            mesh=mesh,
            slot=slot,
            layer=layer,
            shape=(1, 1, in_features, out_features),
            format=precision.format,
            memory_config=programs.bank_sharded(k, n),
            sharding=WEIGHTS[cut],
        )
        self.biases: tuple[Parameter, ...] = ()
        if bias:
            parts = {"column": hidden, "row": tensor, "head": 1}[cut]
            # The decode matmul reads its bias as it reads its weight, bank by bank; the prefill one does not.
            self.biases = tuple(
                Parameter(
                    mesh=mesh,
                    slot=slot,
                    layer=layer,
                    shape=(parts, 1, 1, out_features),
                    memory_config=memory,
                    sharding=BIASES[cut],
                )
                for memory in (programs.bank_sharded(TILE, n), ttnn.DRAM_MEMORY_CONFIG)
            )
        who = name if layer is None else f"layer {layer} {name}"
        self.decode_arguments = programs.decode_matmul(
            who, k, n, precision, live_tiles=live_tiles, cores_in=cores_in, activation=activation
        )
        self.prefill_arguments = {
            rows: programs.prefill_matmul(who, rows, k, n, precision, activation) for rows in plan.prefill_lengths
        }

    def fill(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        """Put ``[out_features, in_features]`` and ``[out_features]`` on the mesh."""
        self.weight.fill(weight.T[None, None])  # a view: torch keeps [N, K] in memory, as the checkpoint has it
        self.decode_bias = self.prefill_bias = None
        if bias is not None:
            for parameter in self.biases:
                others = bias.new_zeros(parameter.shape[0] - 1, len(bias))
                parameter.fill(torch.cat([bias[None], others])[:, None, None])
            self.decode_bias, self.prefill_bias = (parameter.tensor for parameter in self.biases)

    @property
    def prefill_columns(self) -> int:
        """Its output; the input is its caller's."""
        return self.weight.device_shape[3]

    def decode(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, 1, B, K] -> [1, 1, B, N]``, both width-sharded in L1."""
        return ttnn.linear(x, self.weight.tensor, bias=self.decode_bias, **self.decode_arguments)

    def prefill(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, 1, S, K] -> [1, 1, S, N]``, both in DRAM; a long prompt goes through in folds."""
        length = x.shape[2]
        fold, arguments = self.prefill_arguments[length]
        folded = ttnn.reshape(x, (1, length // fold, fold, x.shape[3]))  # [1, S / fold, fold, K]
        out = ttnn.linear(folded, self.weight.tensor, bias=self.prefill_bias, **arguments)  # [1, S / fold, fold, N]
        return ttnn.reshape(out, (1, 1, length, out.shape[3]))


class WideLinear(Block):
    """A column-parallel projection too wide for one matmul's L1: several side by side, outputs joined.

    :param widths: of the parts on one device.
    :param output: where decode puts what the parts made.
    """

    def __init__(self, parts: Sequence[Linear], widths: Sequence[int], devices: int, output: ttnn.MemoryConfig) -> None:
        self.parts, self.widths, self.devices, self.output = parts, widths, devices, output

    def fill(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        """Put ``[out_features, in_features]`` and ``[out_features]`` on the mesh, cut into the parts on each device."""
        weights = self._columns(weight)
        biases = [None] * len(self.parts) if bias is None else self._columns(bias)
        for part, own_weight, own_bias in zip(self.parts, weights, biases, strict=True):
            part.fill(own_weight, own_bias)

    def _columns(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        by_device = tensor.unflatten(0, (self.devices, -1))
        return [part.flatten(0, 1) for part in by_device.split(list(self.widths), 1)]

    def decode(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, 1, B, K] -> [1, 1, B, N]``; the parts meet in DRAM, which has room for any width."""
        outputs = []
        for part in self.parts:
            sharded = part.decode(x)
            outputs.append(ttnn.sharded_to_interleaved(sharded, ttnn.DRAM_MEMORY_CONFIG))
            ttnn.deallocate(sharded)
        return ttnn.to_memory_config(ttnn.concat(outputs, dim=3), self.output)

    @property
    def prefill_columns(self) -> int:
        """The parts, and what they are joined to."""
        return 2 * sum(self.widths)

    def prefill(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, 1, S, K] -> [1, 1, S, N]``, both in DRAM."""
        return ttnn.concat([part.prefill(x) for part in self.parts], dim=3)


def column_linear(
    plan: Plan,
    name: str,
    *,
    slot: str,
    layer: int | None,
    in_features: int,
    out_features: int,
    precision: WeightPrecision,
    bias: bool,
    live_tiles: int,
    cut: Literal["column", "head"] = "column",
    activation: ttnn.UnaryWithParam | None = None,
    output: ttnn.MemoryConfig | None = None,
) -> Linear | WideLinear:
    """Make a projection of any width whose outputs are cut over the devices; parameters as for :class:`Linear`.

    :param output: where decode puts what several matmuls made; width-sharded over N's most cores if None.
    """
    mesh, programs = plan.mesh, plan.programs
    devices = mesh.tensor_parallel * (mesh.hidden_parallel if cut == "head" else 1)
    n, k = out_features // devices, in_features // (mesh.hidden_parallel if cut == "column" else 1)
    who = name if layer is None else f"layer {layer} {name}"
    width = programs.columns_at_once(who, k, n, precision, live_tiles=live_tiles)
    widths = [min(width, n - start) for start in range(0, n, width)]
    parts = [
        Linear(
            plan,
            name,
            slot=slot,
            layer=layer,
            in_features=in_features,
            out_features=part * devices,
            cut=cut,
            precision=precision,
            bias=bias,
            live_tiles=live_tiles,
            activation=activation,
        )
        for part in widths
    ]
    if len(parts) == 1:
        return parts[0]
    return WideLinear(parts, widths, devices, output or programs.spread_out(n))
