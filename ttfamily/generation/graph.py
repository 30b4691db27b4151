"""The decode step as one graph: inputs in fixed buffers, traced after its first run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import ttnn
from torch.nn import functional

from ttfamily.core.kv_cache import SPARE
from ttfamily.core.placement import integers, read_cut, write

if TYPE_CHECKING:
    from ttfamily.core.transformer import Transformer

# B rows of a step (slots, and padding up to a rectangle of cores), P pages a user, V vocabulary on one device


class DecodeGraph:
    """Runs decode steps: host writes of the inputs, then one replay of the trace.

    The first step runs op by op, which compiles every program; the trace is captured behind it.
    """

    def __init__(self, transformer: Transformer) -> None:
        plan = transformer.plan
        users = plan.users
        self.mesh = plan.mesh
        self.transformer = transformer
        self.tokens = integers(self.mesh, torch.zeros(1, users, dtype=torch.int32), ttnn.uint32)
        self.rope_positions = integers(self.mesh, torch.zeros(1, users, dtype=torch.int32), ttnn.uint32)
        self.positions = integers(self.mesh, torch.full((users,), -1, dtype=torch.int32), ttnn.int32)
        self.page_table = integers(self.mesh, torch.full((users, plan.pages), SPARE, dtype=torch.int32), ttnn.int32)
        self._trace: int | None = None
        self._logits: ttnn.Tensor | None = None

    def run(self, tokens: torch.Tensor, positions: torch.Tensor, page_table: torch.Tensor | None) -> torch.Tensor:
        """Decode one token for every slot.

        :param tokens: ``[slots]`` int; of an empty slot any valid id.
        :param positions: ``[slots]`` int, -1 for an empty slot.
        :param page_table: ``[slots, P]`` int32 if it changed since the last step, else None.
        :returns: logits ``[slots, devices * V]`` float32; rows of empty slots hold anything.
        """
        slots, empty = len(tokens), self.positions.shape[0] - len(tokens)
        tokens = functional.pad(tokens.to(torch.int32), (0, empty))
        positions = functional.pad(positions.to(torch.int32), (0, empty), value=-1)
        write(self.mesh, tokens[None], self.tokens)
        write(self.mesh, positions.clamp(min=0)[None], self.rope_positions)
        write(self.mesh, positions, self.positions)
        if page_table is not None:
            write(self.mesh, functional.pad(page_table, (0, 0, 0, empty), value=SPARE), self.page_table)
        if self._trace is None:
            return self._first()[:slots]
        ttnn.execute_trace(self.mesh.device, self._trace, cq_id=0, blocking=False)
        return self._read(self._logits)[:slots]

    def _first(self) -> torch.Tensor:
        logits = self._pass()
        host = self._read(logits)
        ttnn.deallocate(logits)
        self.transformer.prepare_collectives()
        self._trace = ttnn.begin_trace_capture(self.mesh.device, cq_id=0)
        self._logits = self._pass()
        ttnn.end_trace_capture(self.mesh.device, self._trace, cq_id=0)
        return host

    def _pass(self) -> ttnn.Tensor:
        return self.transformer.decode(self.tokens, self.positions, self.rope_positions, self.page_table)

    @staticmethod
    def _read(logits: ttnn.Tensor) -> torch.Tensor:
        return read_cut(logits, 3)[0, 0].float()

    def close(self) -> None:
        """Release the trace."""
        if self._trace is not None:
            ttnn.release_trace(self.mesh.device, self._trace)
            self._trace = None
