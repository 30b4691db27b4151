"""The decode step as one graph: inputs in fixed buffers, and the trace that a warm-up captures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ttnn

from ttfamily.core.blocks.lm_head import LmHead
from ttfamily.core.mesh.placement import read
from ttfamily.engine.inputs import DecodeInputs

if TYPE_CHECKING:
    import torch

    from ttfamily.core.blocks.transformer import Transformer

# B rows of a replica's step (slots, and padding up to a rectangle of cores), V vocabulary on one device


class DecodeGraph:
    """Runs decode steps: host writes of the inputs, then one replay of the trace; without a trace, op by op.

    :ivar inputs: the buffers that it reads.
    """

    def __init__(self, transformer: Transformer) -> None:
        self._transformer, self._mesh = transformer, transformer.plan.mesh
        self.inputs = DecodeInputs(transformer.plan)
        self._trace: int | None = None
        self._traced: ttnn.Tensor | None = None

    def eager(self) -> ttnn.Tensor:
        """Run the ops of a step on what the buffers hold: logits ``[1, 1, B, V]``, cut over the devices."""
        inputs = self.inputs
        return self._transformer.decode(inputs.tokens, inputs.positions, inputs.rope_positions, inputs.page_table)

    def run(self) -> torch.Tensor:
        """Run a step on what the buffers hold.

        :returns: logits ``[replicas * B, devices * V]`` float32.
        """
        if self._trace is None:
            logits = self.eager()
            host = self._read(logits)
            ttnn.deallocate(logits)
            return host
        ttnn.execute_trace(self._mesh.device, self._trace, cq_id=0, blocking=False)
        return self._read(self._traced)

    @property
    def captured(self) -> bool:
        """Whether there is a trace."""
        return self._trace is not None

    def capture(self) -> None:
        """Capture the trace, once every program that will ever run is compiled; one that fails leaves none."""
        device = self._mesh.device
        trace = ttnn.begin_trace_capture(device, cq_id=0)
        try:
            traced = self.eager()
        except BaseException:
            ttnn.end_trace_capture(device, trace, cq_id=0)
            ttnn.release_trace(device, trace)
            raise
        ttnn.end_trace_capture(device, trace, cq_id=0)
        self._trace, self._traced = trace, traced

    def _read(self, logits: ttnn.Tensor) -> torch.Tensor:
        rows: torch.Tensor = read(self._mesh, logits, LmHead.LOGITS)[0, 0].float()
        return rows

    def close(self) -> None:
        """Release the trace."""
        if self._trace is not None:
            ttnn.release_trace(self._mesh.device, self._trace)
            self._trace = self._traced = None
