"""RMS and layer normalisation of the residual stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ttnn

from ttfamily.core.blocks.ccl import DRAM, all_gather, dram_zeros
from ttfamily.core.mesh.placement import Sharding, put
from ttfamily.core.mesh.tiles import TILE

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from ttfamily.core.layout.plan import Plan
    from ttfamily.core.layout.schemes import Phase
    from ttfamily.core.weights.rules import Weights

# B users, S tokens, D what a device has of the hidden size

LOCAL = {"rms": ttnn.rms_norm, "layer": ttnn.layer_norm}
# Statistics of a device's part, then the norm by everyone's; how many numbers they are, each a tile wide.
DISTRIBUTED = {
    "rms": (ttnn.rms_norm_pre_all_gather, ttnn.rms_norm_post_all_gather, 1),
    "layer": (ttnn.layer_norm_pre_all_gather, ttnn.layer_norm_post_all_gather, 2),
}
# What a vector does, where the norm has no room for it.
BY_ITSELF = {"weight": ttnn.multiply, "bias": ttnn.add}


class Norm:
    """Normalise over the hidden size (tech report 2.3)."""

    def __init__(self, plan: Plan, weights: Weights, slot: str, layer: int | None = None) -> None:
        spec = plan.spec.norm
        taken = weights.take(slot, ((plan.spec.hidden_size,),), layer, bias=spec.bias, cut="width")
        vectors = {"weight": taken.weight[0], "bias": None if taken.bias is None else taken.bias[0]}
        self.plan = plan
        who = slot.removeprefix("layer.") if layer is None else f"layer {layer} {slot.removeprefix('layer.')}"
        self.in_decode = _Pass(plan, who, vectors, "decode", plan.residual_memory)
        self.in_prefill = _Pass(plan, who, vectors, "prefill", DRAM)

    def decode(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, 1, B, D] -> [1, 1, B, D]``, of the residual stream, to width-sharded in L1."""
        normed = self.in_decode(x)
        return normed if self.in_decode.sharded else ttnn.to_memory_config(normed, self.plan.normed_memory)

    def prefill(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, 1, S, D] -> [1, 1, S, D]`` in DRAM."""
        return self.in_prefill(x)

    def warm_up(self, rows: int, phase: Phase) -> None:
        """Run what a pass of so many rows gathers once."""
        width = self.plan.stream_width(phase)
        if phase == "prefill" and self.in_prefill.distributed:
            ttnn.deallocate(self.prefill(dram_zeros(self.plan, rows, width)))
        if phase == "decode" and self.in_decode.distributed:
            x = ttnn.to_memory_config(dram_zeros(self.plan, rows, width), self.plan.residual_memory)
            ttnn.deallocate(self.decode(x))
            ttnn.deallocate(x)


class _Pass:
    """The norm as one phase computes it; where the stream is cut, by statistics that the devices gather.

    Of a sharded stream the weight is read as rows of one tile's width, row-major: as a tiled row it would be
    padded 32-fold and read as much. Else it is a tiled row: that kernel holds row-major weights only of
    narrower models, and in prefill that is nothing beside the activations.

    :param memory: of the residual stream.
    """

    def __init__(
        self,
        plan: Plan,
        who: str,
        vectors: Mapping[str, torch.Tensor | None],
        phase: Phase,
        memory: ttnn.MemoryConfig,
    ) -> None:
        spec, mesh, programs = plan.spec.norm, plan.mesh, plan.programs
        sharding, axis = plan.stream_sharding(phase), plan.stream_axis(phase)
        width = plan.stream_width(phase)
        self.memory, self.sharded = memory, memory.is_sharded()
        self.program = {"program_config": programs.decode_norm(width)} if self.sharded else {}
        self.arguments = {"epsilon": spec.eps, "memory_config": memory, **self.program}
        self.op = LOCAL[spec.kind]
        self.statistics, self.by_statistics, numbers = DISTRIBUTED[spec.kind]
        self.distributed = axis is not None
        parts = 1 if axis is None else mesh.shape[axis]
        place = _as_sticks if self.sharded else _as_tiles
        placed = {name: place(plan, each, sharding) for name, each in vectors.items() if each is not None}
        fused = self.sharded or not self.distributed
        if not fused:
            fused = programs.norm_vectors_fit(who, width, numbers=numbers, parts=parts, vectors=len(placed))
        self.arguments |= placed if fused else {}
        self.behind = {} if fused else placed
        gathered = programs.width_sharded(TILE * numbers * parts, 1) if self.sharded else memory
        self.gather = all_gather(mesh, axis, gathered)

    def __call__(self, x: ttnn.Tensor) -> ttnn.Tensor:
        if not self.distributed:
            return self.op(x, **self.arguments)
        own = self.statistics(x, **self.program)  # [1, 1, rows, 32 a number]
        normed = self.by_statistics(x, self.gather(own), **self.arguments)  # one small collective
        for name, vector in self.behind.items():
            normed = BY_ITSELF[name](normed, vector, memory_config=self.memory)
        return normed


def _as_sticks(plan: Plan, vector: torch.Tensor, sharding: Sharding) -> ttnn.Tensor:
    """Put ``[D]`` on the mesh as ``[1, 1, D / 32, 32]``, whose rows are cut where the stream's columns are."""
    rows = Sharding(tensor=sharding.tensor and 2, hidden=sharding.hidden and 2)
    sticks = vector.reshape(1, 1, -1, TILE)
    return put(plan.mesh, sticks, dtype=ttnn.bfloat16, layout=ttnn.ROW_MAJOR_LAYOUT, sharding=rows)


def _as_tiles(plan: Plan, vector: torch.Tensor, sharding: Sharding) -> ttnn.Tensor:
    """Put ``[D]`` on the mesh as ``[1, 1, 1, D]``, a row of tiles."""
    return put(plan.mesh, vector[None, None, None], dtype=ttnn.bfloat16, sharding=sharding)
