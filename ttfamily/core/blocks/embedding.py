"""Token ids to the residual stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ttnn

from ttfamily.core.blocks.block import Block
from ttfamily.core.blocks.ccl import DRAM
from ttfamily.core.blocks.collectives import collective
from ttfamily.core.blocks.parameter import Parameter
from ttfamily.core.mesh.placement import WHOLE, Sharding

if TYPE_CHECKING:
    from ttfamily.core.blocks.ccl import Collective
    from ttfamily.core.layout.plan import Plan
    from ttfamily.core.layout.schemes import Phase
    from ttfamily.core.weights.weights import Weights

# B users, S tokens, V vocab_size, D what a device has of the hidden size


class Embedding(Block):
    """Rows of the table, looked up on the device; the table is row-major in DRAM, its columns cut over the devices.

    A phase whose residual stream is not cut gathers what it looked up.
    """

    def __init__(self, plan: Plan) -> None:
        spec, axis = plan.spec, plan.embedding_axis
        columns = Sharding(tensor=3) if axis == plan.mesh.spec.tensor_axis else Sharding(hidden=3)
        self.table = Parameter(
            mesh=plan.mesh,
            slot="embedding",
            shape=(1, 1, spec.vocab_size, spec.hidden_size),
            layout=ttnn.ROW_MAJOR_LAYOUT,
            sharding=WHOLE if axis is None else columns,
        )
        self.decode_gather, self.prefill_gather = self._gather(plan, "decode"), self._gather(plan, "prefill")
        self.residual = plan.decode.memory

    def _gather(self, plan: Plan, phase: Phase) -> Collective:
        axis = plan.embedding_axis if plan.stream(phase).axis is None else None
        return collective(plan, "all_gather", phase, axis, self.table.device_shape[3], source=DRAM)

    def load(self, weights: Weights) -> None:
        """Take the table."""
        shape = self.table.shape[2:]
        table = weights.take("embedding", (shape,), cut="width").weight[0]
        self.table.fill(table[None, None])

    @property
    def gap_columns(self) -> int:
        """Columns of the gap that a prefill leaves before the stream: of the parts that it was gathered from."""
        return self.prefill_gather.width if self.prefill_gather.devices > 1 else 0

    def decode(self, tokens: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, B]`` uint32 -> ``[1, 1, B, D]``, where decode has the residual stream."""
        x = self.decode_gather(self._look_up(tokens))
        stream = ttnn.to_memory_config(x, self.residual)
        ttnn.deallocate(x)
        return stream

    def prefill(self, tokens: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, S]`` uint32 -> ``[1, 1, S, D]`` in DRAM."""
        return self.prefill_gather(self._look_up(tokens))

    def _look_up(self, tokens: ttnn.Tensor) -> ttnn.Tensor:
        return ttnn.unsqueeze_to_4D(ttnn.embedding(tokens, self.table.tensor, layout=ttnn.TILE_LAYOUT))
