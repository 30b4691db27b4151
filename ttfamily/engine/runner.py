"""The device's side: one transformer on one mesh, which is told everything and owns no page."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import ttnn

from ttfamily.core.blocks.lm_head import LmHead
from ttfamily.core.mesh.placement import read
from ttfamily.engine.graph import DecodeGraph
from ttfamily.engine.inputs import every_chunk, prefill_inputs
from ttfamily.tiles import TILE

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from ttfamily.core.blocks.transformer import Transformer
    from ttfamily.core.layout.plan import Plan
    from ttfamily.engine.inputs import DecodeBatch, PromptChunk

log = logging.getLogger("ttfamily")

LATE = (
    "%d programs were compiled after the decode step's trace was captured, by %d tokens from position %d: a replay may "
    "overwrite them, and answers go wrong. Please report this, with what ttfamily --debug says of it."
)

# S tokens of a chunk (padded), B rows of a replica's step, V vocabulary on one device


class Runner:
    """Runs chunks of prompts and decode steps, for whoever keeps the slots and the pages.

    Making one runs every collective once (:meth:`Transformer.prepare_collectives`): prefill and decode both depend
    on that. A decode step runs op by op until :meth:`warm_up` has captured it.

    :ivar graph: the decode step and its trace.
    """

    def __init__(self, transformer: Transformer) -> None:
        self.transformer = transformer
        self.plan: Plan = transformer.plan
        self.graph = DecodeGraph(transformer)
        with self.plan.mesh.rehearsal():
            transformer.prepare_collectives()

    def warm_up(self, progress: Callable[[int, int], None] = lambda _done, _total: None) -> None:
        """Run everything that can run, once, then capture the decode step.

        A program is written to the device when it is compiled. After a capture it could lie where the trace keeps
        its intermediates, and a replay would overwrite it; so whatever could be compiled is compiled before.

        :param progress: called with the passes that are done and all of them.
        """
        mesh, chunks = self.plan.mesh, list(every_chunk(self.plan))
        passes = len(chunks) + 2
        with mesh.rehearsal():
            for done, chunk in enumerate(chunks, start=1):
                logits = self.run_prefill(chunk)
                if logits is not None:
                    ttnn.deallocate(logits)
                progress(done, passes)
            ttnn.deallocate(self.run_decode())
            progress(passes - 1, passes)
        self.graph.capture()
        progress(passes, passes)

    @property
    def programs(self) -> int:
        """How many programs the mesh has compiled."""
        count: int = self.plan.mesh.device.num_program_cache_entries()
        return count

    # ---- on the device only: nothing is read, so a plan can record it

    def run_prefill(self, chunk: PromptChunk) -> ttnn.Tensor | None:
        """Read a chunk into the cache.

        :returns: logits of the tile that holds the last token, ``[1, 1, 32, V]`` cut over the devices; None where
            none are wanted.
        """
        compiled = self.programs
        tokens, layers_chunk = prefill_inputs(self.plan, self.transformer.rope, chunk)
        x = self.transformer.prefill(tokens, layers_chunk)  # [1, 1, S, D]
        logits = self.transformer.logits_at(x, len(chunk.tokens) - 1) if chunk.logits else None
        ttnn.deallocate(x)
        if self.graph.captured and self.programs > compiled:  # on a mock mesh, an error of the op itself
            log.warning(LATE, self.programs - compiled, layers_chunk.length, chunk.start)
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
        """Decode one token in every slot.

        :returns: logits ``[slots, vocab_size]`` float32; rows of empty slots hold anything.
        """
        self.graph.inputs.write(batch)
        return self.graph.inputs.of_slots(self.graph.run())[:, : self.plan.spec.vocab_size]

    def close(self) -> None:
        """Release the trace; of a mesh that is closed, its devices have done so."""
        if not self.plan.mesh.closed:
            self.graph.close()
