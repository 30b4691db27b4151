"""Token ids to the residual stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ttnn

from ttfamily.core.blocks.ccl import DRAM, all_gather, dram_zeros
from ttfamily.core.layout.schemes import PHASES
from ttfamily.core.mesh.placement import WHOLE, Sharding, put

if TYPE_CHECKING:
    from ttfamily.core.layout.plan import Plan
    from ttfamily.core.layout.schemes import Phase
    from ttfamily.core.weights.rules import Weights

# B users, S tokens, V vocab_size, D what a device has of the hidden size


class Embedding:
    """Rows of the table, looked up on the device; the table is row-major in DRAM, its columns cut over the devices.

    A phase whose residual stream is not cut gathers what it looked up.
    """

    def __init__(self, plan: Plan, weights: Weights) -> None:
        spec = plan.spec
        table = weights.take("embedding", ((spec.vocab_size, spec.hidden_size),), cut="width").weight[0]
        self.plan, axis = plan, plan.embedding_axis
        columns = Sharding(tensor=3) if axis == plan.mesh.spec.tensor_axis else Sharding(hidden=3)
        self.table = put(
            plan.mesh,
            table[None, None],
            dtype=ttnn.bfloat16,
            layout=ttnn.ROW_MAJOR_LAYOUT,
            sharding=WHOLE if axis is None else columns,
        )
        axes = (axis if plan.stream_axis(phase) is None else None for phase in PHASES)
        self.decode_gather, self.prefill_gather = (all_gather(plan.mesh, each, DRAM) for each in axes)
        self.residual = plan.residual_memory

    def decode(self, tokens: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, B]`` uint32 -> ``[1, 1, B, D]``, where decode has the residual stream."""
        x = self.decode_gather(self._look_up(tokens))
        stream = ttnn.to_memory_config(x, self.residual)
        ttnn.deallocate(x)
        return stream

    def prefill(self, tokens: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, S]`` uint32 -> ``[1, 1, S, D]`` in DRAM."""
        return self.prefill_gather(self._look_up(tokens))

    def warm_up(self, rows: int, phase: Phase) -> None:
        """Run what a pass of so many rows gathers once."""
        gather = self.decode_gather if phase == "decode" else self.prefill_gather
        ttnn.deallocate(gather(dram_zeros(self.plan, rows, self.plan.embedding_width)))

    def _look_up(self, tokens: ttnn.Tensor) -> ttnn.Tensor:
        return ttnn.unsqueeze_to_4D(ttnn.embedding(tokens, self.table, layout=ttnn.TILE_LAYOUT))
