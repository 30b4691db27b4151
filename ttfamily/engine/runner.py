"""The device's side: one transformer on one mesh, which is told everything and owns no page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ttnn

from ttfamily.core.blocks.lm_head import LmHead
from ttfamily.core.mesh.placement import read
from ttfamily.engine.graph import DecodeGraph
from ttfamily.engine.inputs import prefill_inputs
from ttfamily.tiles import TILE

if TYPE_CHECKING:
    import torch

    from ttfamily.core.blocks.transformer import Transformer
    from ttfamily.core.layout.plan import Plan
    from ttfamily.engine.inputs import DecodeBatch, PromptChunk

# S tokens of a chunk (padded), B rows of a replica's step, V vocabulary on one device


class Runner:
    """Runs chunks of prompts and decode steps, for whoever keeps the slots and the pages.

    Making one runs every collective once (:meth:`Transformer.prepare_collectives`): prefill and decode both depend
    on that.

    :ivar graph: the decode step and its trace.
    """

    def __init__(self, transformer: Transformer) -> None:
        self.transformer = transformer
        self.plan: Plan = transformer.plan
        self.graph = DecodeGraph(transformer)
        transformer.prepare_collectives()

    # ---- on the device only: nothing is read, so a plan can record it

    def run_prefill(self, chunk: PromptChunk) -> ttnn.Tensor | None:
        """Read a chunk into the cache.

        :returns: logits of the tile that holds the last token, ``[1, 1, 32, V]`` cut over the devices; None where
            none are wanted.
        """
        tokens, layers_chunk = prefill_inputs(self.plan, self.transformer.rope, chunk)
        x = self.transformer.prefill(tokens, layers_chunk)  # [1, 1, S, D]
        logits = self.transformer.logits_at(x, len(chunk.tokens) - 1) if chunk.logits else None
        ttnn.deallocate(x)
        return logits

    def run_decode(self) -> ttnn.Tensor:
        """Run a decode step op by op on what the graph's buffers hold: logits ``[1, 1, B, V]``."""
        return self.graph.eager()

    # ---- with logits on the host

    def prefill(self, chunk: PromptChunk) -> torch.Tensor | None:
        """Read a chunk of a prompt into the cache.

        :returns: logits of its last token, ``[vocab_size]`` float32; None where none are wanted.
        :raises RequestError: if it is longer than a chunk may be, or starts elsewhere than a chunk may.
        """
        logits = self.run_prefill(chunk)
        if logits is None:
            return None
        by_replica = read(self.plan.mesh, logits, LmHead.LOGITS)[0, 0].unflatten(0, (-1, TILE))
        row: torch.Tensor = by_replica[chunk.slot // self.plan.slots_per_replica, (len(chunk.tokens) - 1) % TILE]
        return row[: self.plan.spec.vocab_size].float()

    def decode(self, batch: DecodeBatch) -> torch.Tensor:
        """Decode one token in every slot, by the trace from the second step on.

        :returns: logits ``[slots, vocab_size]`` float32; rows of empty slots hold anything.
        """
        self.graph.inputs.write(batch)
        return self.graph.inputs.of_slots(self.graph.run())[:, : self.plan.spec.vocab_size]

    def close(self) -> None:
        """Release the trace; of a mesh that is closed, its devices have done so."""
        if not self.plan.mesh.closed:
            self.graph.close()
