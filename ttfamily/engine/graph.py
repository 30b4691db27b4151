"""The decode step as one graph: inputs in fixed buffers, traced after its first run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import ttnn

from ttfamily.core.blocks.kv_cache import SPARE
from ttfamily.core.blocks.lm_head import LmHead
from ttfamily.core.mesh.placement import BY_REPLICA, integers, read, write

if TYPE_CHECKING:
    from ttfamily.core.blocks.transformer import Transformer

# B rows of a replica's step (slots, and padding up to a rectangle of cores), P pages a user, V vocabulary on one device


class DecodeGraph:
    """Runs decode steps: host writes of the inputs, then one replay of the trace.

    The first step runs op by op, which compiles every program; the trace is captured behind it.
    """

    def __init__(self, transformer: Transformer) -> None:
        plan = transformer.plan
        self.mesh, self.plan = plan.mesh, plan
        replicas, rows = self.mesh.replicas, self.mesh.replicas * plan.users
        self.transformer = transformer
        self.tokens = self._integers(torch.zeros(replicas, plan.users, dtype=torch.int32), ttnn.uint32)
        self.rope_positions = self._integers(torch.zeros(replicas, plan.users, dtype=torch.int32), ttnn.uint32)
        self.positions = self._integers(torch.full((rows,), -1, dtype=torch.int32), ttnn.int32)
        self.page_table = self._integers(torch.full((rows, plan.pages), SPARE, dtype=torch.int32), ttnn.int32)
        transformer.prepare_collectives()
        self._trace: int | None = None
        self._logits: ttnn.Tensor | None = None

    def run(self, tokens: torch.Tensor, positions: torch.Tensor, page_table: torch.Tensor | None) -> torch.Tensor:
        """Decode one token for every slot.

        :param tokens: ``[slots]`` int; of an empty slot any valid id.
        :param positions: ``[slots]`` int, -1 for an empty slot.
        :param page_table: ``[slots, P]`` int32 if it changed since the last step, else None.
        :returns: logits ``[slots, devices * V]`` float32; rows of empty slots hold anything.
        """
        tokens = self._by_replica(tokens.to(torch.int32), 0)  # [replicas, B]
        positions = self._by_replica(positions.to(torch.int32), -1)
        write(self.mesh, tokens, self.tokens, BY_REPLICA)
        write(self.mesh, positions.clamp(min=0), self.rope_positions, BY_REPLICA)
        write(self.mesh, positions.flatten(), self.positions, BY_REPLICA)
        if page_table is not None:
            write(self.mesh, self._by_replica(page_table, SPARE).flatten(0, 1), self.page_table, BY_REPLICA)
        if self._trace is None:
            return self._of_slots(self._first())
        ttnn.execute_trace(self.mesh.device, self._trace, cq_id=0, blocking=False)
        return self._of_slots(self._read(self._logits))

    def _by_replica(self, by_slot: torch.Tensor, empty: int) -> torch.Tensor:
        """``[slots, ...] -> [replicas, B, ...]``: replica after replica, each filled up with empty rows."""
        plan = self.plan
        missing = self.mesh.replicas * plan.slots_per_replica - len(by_slot)
        others = by_slot.new_full((missing, *by_slot.shape[1:]), empty)
        slots = torch.cat([by_slot, others]).unflatten(0, (self.mesh.replicas, -1))
        rows = by_slot.new_full((self.mesh.replicas, plan.users - slots.shape[1], *by_slot.shape[1:]), empty)
        return torch.cat([slots, rows], 1)

    def _of_slots(self, rows: torch.Tensor) -> torch.Tensor:
        """``[replicas * B, ...] -> [slots, ...]``."""
        plan = self.plan
        of_replica = rows.unflatten(0, (self.mesh.replicas, -1))[:, : plan.slots_per_replica]
        slots: torch.Tensor = of_replica.flatten(0, 1)[: plan.max_batch_size]
        return slots

    def _first(self) -> torch.Tensor:
        logits = self._pass()
        host = self._read(logits)
        ttnn.deallocate(logits)
        self._trace = ttnn.begin_trace_capture(self.mesh.device, cq_id=0)
        self._logits = self._pass()
        ttnn.end_trace_capture(self.mesh.device, self._trace, cq_id=0)
        return host

    def _pass(self) -> ttnn.Tensor:
        return self.transformer.decode(self.tokens, self.positions, self.rope_positions, self.page_table)

    def _read(self, logits: ttnn.Tensor) -> torch.Tensor:
        rows: torch.Tensor = read(self.mesh, logits, LmHead.LOGITS)[0, 0].float()
        return rows

    def _integers(self, values: torch.Tensor, dtype: ttnn.DataType) -> ttnn.Tensor:
        return integers(self.mesh, values, dtype, BY_REPLICA)

    def close(self) -> None:
        """Release the trace."""
        if self._trace is not None:
            ttnn.release_trace(self.mesh.device, self._trace)
            self._trace = None
