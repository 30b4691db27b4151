"""RMS and layer normalisation of the residual stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ttnn

from ttfamily.core.blocks.block import Block
from ttfamily.core.blocks.collectives import collective
from ttfamily.core.blocks.parameter import Parameter
from ttfamily.core.layout.norm_programs import decode_norm, norm_vectors_fit
from ttfamily.core.mesh.placement import Sharding
from ttfamily.tiles import TILE

if TYPE_CHECKING:
    import torch

    from ttfamily.core.layout.plan import Plan
    from ttfamily.core.layout.schemes import Phase
    from ttfamily.core.weights.weights import Weights

# B users, S tokens, D what a device has of the hidden size

LOCAL = {"rms": ttnn.rms_norm, "layer": ttnn.layer_norm}
# Statistics of a device's part, then the norm by everyone's; how many numbers they are, each a tile wide.
DISTRIBUTED = {
    "rms": (ttnn.rms_norm_pre_all_gather, ttnn.rms_norm_post_all_gather, 1),
    "layer": (ttnn.layer_norm_pre_all_gather, ttnn.layer_norm_post_all_gather, 2),
}
# What a vector does, where the norm has no room for it.
UNFUSED_OPS = {"weight": ttnn.multiply, "bias": ttnn.add}


class Norm(Block):
    """Normalise over the hidden size (tech report 2.3)."""

    def __init__(self, plan: Plan, slot: str, layer: int | None = None) -> None:
        self.plan, self.slot, self.layer = plan, slot, layer
        self.in_decode = _Pass(plan, slot, layer, "decode")
        self.in_prefill = _Pass(plan, slot, layer, "prefill")

    def load(self, weights: Weights) -> None:
        """Take the weight, and the bias if there is one."""
        spec = self.plan.spec
        taken = weights.take(self.slot, ((spec.hidden_size,),), self.layer, bias=spec.norm.bias, cut="width")
        vectors = {"weight": taken.weight[0], **({} if taken.bias is None else {"bias": taken.bias[0]})}
        self.in_decode.fill(vectors)
        self.in_prefill.fill(vectors)

    @property
    def prefill_columns(self) -> int:
        """What it makes, the statistics that are gathered for it, and where a vector is applied after it, that too."""
        gather, copies = self.in_prefill.gather, 1 if self.in_prefill.fused else 2
        return copies * self.plan.prefill.width + (gather.columns if gather.devices > 1 else 0)

    def decode(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, 1, B, D] -> [1, 1, B, D]``, of the residual stream, to width-sharded in L1."""
        normed = self.in_decode(x)
        return normed if self.in_decode.sharded else ttnn.to_memory_config(normed, self.plan.decode.normed)

    def prefill(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, 1, S, D] -> [1, 1, S, D]`` in DRAM."""
        return self.in_prefill(x)


class _Pass(Block):
    """The norm as one phase computes it; where the stream is cut, by statistics that the devices gather.

    Of a sharded stream the weight is read as rows of one tile's width, row-major: as a tiled row it would be
    padded 32-fold and read as much. Else it is a tiled row: that kernel holds row-major weights only of
    narrower models, and in prefill that is nothing beside the activations.
    """

    def __init__(self, plan: Plan, slot: str, layer: int | None, phase: Phase) -> None:
        spec, programs, stream = plan.spec.norm, plan.programs, plan.stream(phase)
        self.memory, self.sharded = stream.memory, stream.is_sharded
        self.program = {"program_config": decode_norm(programs, stream.width)} if self.sharded else {}
        self.arguments = {"epsilon": spec.eps, "memory_config": self.memory, **self.program}
        self.op = LOCAL[spec.kind]
        self.statistics, self.by_statistics, numbers = DISTRIBUTED[spec.kind]
        self.distributed = stream.axis is not None
        names = ("weight", "bias") if spec.bias else ("weight",)
        self.vectors = {name: _vector(plan, slot, layer, stream.sharding, sticks=self.sharded) for name in names}
        parts = 1 if stream.axis is None else plan.mesh.shape[stream.axis]
        self.fused = self.sharded or not self.distributed
        if not self.fused:
            self.fused = norm_vectors_fit(
                programs,
                slot if layer is None else f"layer {layer} {slot.removeprefix('layer.')}",
                stream.width,
                numbers=numbers,
                parts=parts,
                vectors=len(names),
                live_tiles=2 * programs.shard_tiles(stream.width),  # partial sums, in decode; prefill's are in DRAM
            )
        width = TILE * numbers
        own, all_ = (programs.width_sharded(n, 1) if self.sharded else self.memory for n in (width, width * parts))
        self.gather = collective(plan, "all_gather", phase, stream.axis, width, source=own, memory=all_)

    def fill(self, vectors: dict[str, torch.Tensor]) -> None:
        """Put ``[D]`` vectors of the whole width on the mesh."""
        for name, parameter in self.vectors.items():
            parameter.fill(vectors[name].reshape(parameter.shape))
        placed = {name: parameter.tensor for name, parameter in self.vectors.items()}
        self.arguments |= placed if self.fused else {}
        self.unfused = {} if self.fused else placed

    def __call__(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, 1, rows, D] -> [1, 1, rows, D]``."""
        if not self.distributed:
            return self.op(x, **self.arguments)
        own = self.statistics(x, **self.program)  # [1, 1, rows, 32 a number]
        normed = self.by_statistics(x, self.gather(own), **self.arguments)  # one small collective
        for name, vector in self.unfused.items():
            normed = UNFUSED_OPS[name](normed, vector, memory_config=self.memory)
        return normed


def _vector(plan: Plan, slot: str, layer: int | None, sharding: Sharding, *, sticks: bool) -> Parameter:
    """Declare ``[D]``: a row of tiles, or sticks ``[1, 1, D / 32, 32]`` that are cut where the stream's columns are."""
    width, rows = plan.spec.hidden_size, Sharding(tensor=sharding.tensor and 2, hidden=sharding.hidden and 2)
    return Parameter(
        mesh=plan.mesh,
        slot=slot,
        layer=layer,
        shape=(1, 1, width // TILE, TILE) if sticks else (1, 1, 1, width),
        layout=ttnn.ROW_MAJOR_LAYOUT if sticks else ttnn.TILE_LAYOUT,
        sharding=rows if sticks else sharding,
    )
