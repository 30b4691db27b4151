"""The whole model on the mesh: embedding, layers, norm, head, and the two passes through them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ttnn

from ttfamily.core.blocks.ccl import Exchange, dram_zeros, room_for_semaphores
from ttfamily.core.blocks.decoder import LAYERS
from ttfamily.core.blocks.embedding import Embedding
from ttfamily.core.blocks.lm_head import LmHead
from ttfamily.core.blocks.norm import Norm
from ttfamily.core.blocks.rope import Rope
from ttfamily.core.blocks.steps import DecodeStep
from ttfamily.tiles import TILE

if TYPE_CHECKING:
    from collections.abc import Callable

    from ttfamily.core.blocks.slots import Blocks
    from ttfamily.core.blocks.steps import PrefillChunk
    from ttfamily.core.layout.plan import Plan
    from ttfamily.core.layout.schemes import Phase
    from ttfamily.core.weights.rules import Weights

# B users, S tokens, D hidden_size, V vocabulary on one device


class Transformer:
    """Built once, weights streaming in tensor by tensor; then ``prefill`` and ``decode`` are device ops only."""

    def __init__(self, plan: Plan, weights: Weights, blocks: Blocks, progress: Callable[[int, int], None]) -> None:
        count = plan.spec.num_hidden_layers
        self.plan = plan
        self.in_decode, self.in_prefill = Exchange(plan, "decode"), Exchange(plan, "prefill")
        self.embedding = Embedding(plan, weights)
        self.rope = Rope(plan)
        self.layers = []
        for layer in range(count):
            self.layers.append(LAYERS[plan.spec.residual](plan, weights, layer, blocks))
            progress(layer + 1, count + 1)
        self.norm = Norm(plan, weights, "norm")
        self.lm_head = LmHead(plan, weights)
        progress(count + 1, count + 1)

    def decode(
        self, tokens: ttnn.Tensor, positions: ttnn.Tensor, rope_positions: ttnn.Tensor, page_table: ttnn.Tensor
    ) -> ttnn.Tensor:
        """One token for every user.

        :param tokens: ``[1, B]`` uint32, those of the replica.
        :param positions: ``[B]`` int32, -1 for an empty slot.
        :param rope_positions: ``[1, B]`` uint32, the same with 0 for an empty slot.
        :param page_table: ``[B, P]`` int32.
        :returns: logits ``[1, 1, B, V]``, cut over the devices; rows of empty slots hold anything.
        """
        step = DecodeStep(positions=positions, page_table=page_table, rotation=self.rope.decode(rope_positions))
        x = self.embedding.decode(tokens)  # [1, 1, B, D]  L1
        for layer in self.layers:
            x = layer.decode(x, step)
        del step
        normed = self.in_decode.before_head(self.norm.decode(x))
        ttnn.deallocate(x)
        logits = self.lm_head.decode(normed)
        ttnn.deallocate(normed)
        return logits

    def prepare_collectives(self) -> None:
        """Run every collective of both phases once, while nothing else is in L1.

        Each program of a collective keeps semaphores in L1, for good. Made among live activations, they would
        stand in the way of later programs' buffers; made after a trace was captured, they would lie where its
        activations do, and a replay would overwrite them.
        """
        if not self.plan.mesh.has_collectives:
            return
        with room_for_semaphores(self.plan):
            self._warm_up(self.plan.users, "decode", self.in_decode)
            for length in self.plan.prefill_lengths:
                self._warm_up(length, "prefill", self.in_prefill)
            tile = dram_zeros(self.plan, TILE, self.plan.stream_width("prefill"))
            ttnn.deallocate(self.logits_at(tile, 0))

    def _warm_up(self, rows: int, phase: Phase, exchange: Exchange) -> None:
        exchange.warm_up(rows)
        self.norm.warm_up(rows, phase)
        self.embedding.warm_up(rows, phase)

    def prefill(self, tokens: ttnn.Tensor, chunk: PrefillChunk) -> ttnn.Tensor:
        """``[1, S]`` uint32 -> the residual stream behind the last layer, ``[1, 1, S, D]`` in DRAM."""
        x = self.embedding.prefill(tokens)
        for layer in self.layers:
            x = layer.prefill(x, chunk)
        return x

    def logits_at(self, x: ttnn.Tensor, token: int) -> ttnn.Tensor:
        """Logits of the tile that holds ``token``, ``[1, 1, 32, V]``, cut over the devices: row ``token % 32``."""
        start = token // TILE * TILE
        tile = ttnn.slice(x, (0, 0, start, 0), (1, 1, start + TILE, x.shape[3]))
        normed = self.in_prefill.before_head(self.norm.prefill(tile))  # [1, 1, 32, hidden_size]
        ttnn.deallocate(tile)
        logits = self.lm_head.decode(ttnn.to_memory_config(normed, self.plan.whole_memory))
        ttnn.deallocate(normed)
        return logits
