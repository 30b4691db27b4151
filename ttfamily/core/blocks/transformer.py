"""The whole model on the mesh: embedding, layers, norm, head, and the two passes through them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import torch
import ttnn

from ttfamily.core.blocks.block import Block
from ttfamily.core.blocks.ccl import warm_up
from ttfamily.core.blocks.collectives import before_head
from ttfamily.core.blocks.decoder import LAYERS
from ttfamily.core.blocks.embedding import Embedding
from ttfamily.core.blocks.kv_cache import CACHE
from ttfamily.core.blocks.lm_head import LmHead
from ttfamily.core.blocks.norm import Norm
from ttfamily.core.blocks.rope import ROPE, Rope
from ttfamily.core.blocks.steps import DecodeStep
from ttfamily.core.layout.budget import Budget
from ttfamily.core.layout.sizes import paged, tiled
from ttfamily.core.mesh.placement import integers
from ttfamily.tiles import TILE

if TYPE_CHECKING:
    from collections.abc import Callable

    from ttfamily.core.blocks.slots import LayerBlocks
    from ttfamily.core.blocks.steps import PrefillChunk
    from ttfamily.core.layout.plan import Plan
    from ttfamily.core.weights.weights import Weights

# B users, S tokens, D hidden_size, V vocabulary on one device

PAGE_TABLE, INT32_BYTES = "page_table", 4
SMALL = 1 << 20  # bytes for tokens, positions and pages of a step and a chunk, and for the rounding of temporaries


class Transformer(Block):
    """Built from a plan, then loaded tensor by tensor; then ``prefill`` and ``decode`` are device ops only."""

    def __init__(self, plan: Plan, blocks: LayerBlocks) -> None:
        kind = LAYERS[plan.spec.residual]
        self.plan = plan
        self.embedding = Embedding(plan)
        self.rope = Rope(plan)
        self.layers = [kind(plan, layer, blocks) for layer in range(plan.spec.num_hidden_layers)]
        self.norm = Norm(plan, "norm")
        self.gather_in_decode, self.gather_in_prefill = before_head(plan, "decode"), before_head(plan, "prefill")
        self.lm_head = LmHead(plan, kind.live_tiles(plan))

    def load(self, weights: Weights, progress: Callable[[int, int], None] = lambda _done, _total: None) -> None:
        """Fill every parameter; weights stream in tensor by tensor.

        :param progress: called with the parts that are done and all of them.
        """
        count = len(self.layers) + 1
        self.embedding.load(weights)
        self.rope.load(weights)
        for done, layer in enumerate(self.layers, start=1):
            layer.load(weights)
            progress(done, count)
        self.norm.load(weights)
        self.lm_head.load(weights)
        progress(count, count)

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
        step = DecodeStep.at(self.rope, positions, rope_positions, page_table)
        x = self.embedding.decode(tokens)  # [1, 1, B, D]  L1
        for layer in self.layers:
            x = layer.decode(x, step)
        del step
        normed = self.gather_in_decode(self.norm.decode(x))
        ttnn.deallocate(x)
        logits = self.lm_head.decode(normed)
        ttnn.deallocate(normed)
        return logits

    def prefill(self, tokens: ttnn.Tensor, chunk: PrefillChunk) -> ttnn.Tensor:
        """``[1, S]`` uint32 -> the residual stream after the last layer, ``[1, 1, S, D]`` in DRAM."""
        x = self.embedding.prefill(tokens)
        for layer in self.layers:
            x = layer.prefill(x, chunk)
        return x

    def logits_at(self, x: ttnn.Tensor, token: int) -> ttnn.Tensor:
        """Logits of the tile that holds ``token``, ``[1, 1, 32, V]``, cut over the devices: row ``token % 32``."""
        rows, width = x.shape[2], x.shape[3]
        start = token // TILE * TILE
        corners = ((0, 0, start, 0), (1, 1, start + TILE, width))
        # Corners on the device: one program cuts out any tile.
        begin, end = (integers(self.plan.mesh, torch.tensor(corner), ttnn.uint32) for corner in corners)
        tile = ttnn.slice(x, begin, end, slice_dim=2, num_devices=rows // TILE)
        normed = self.gather_in_prefill(self.norm.prefill(tile))  # [1, 1, 32, hidden_size]
        ttnn.deallocate(tile)
        logits = self.lm_head.decode(ttnn.to_memory_config(normed, self.plan.decode.whole))
        ttnn.deallocate(normed)
        return logits

    def prepare_collectives(self) -> None:
        """Run every collective once for each number of rows, before anything else is in L1."""
        warm_up(self.plan, self.collectives())

    # ---- what it takes

    def budget(self) -> Budget:
        """Add up what the blocks say."""
        held: Counter[str] = Counter()
        for parameter in self.parameters():
            held[parameter.slot] += parameter.dram_bytes
        plan, banks = self.plan, self.plan.mesh.dram_banks
        context = {slot: held.pop(slot, 0) for slot in (CACHE, ROPE)}
        return Budget(
            weights=held,
            context={**context, PAGE_TABLE: paged(plan.users, plan.pages * INT32_BYTES, banks)},
            running={"logits": self.lm_head.logits_bytes, "activations": self._activations()},
        )

    def _activations(self) -> int:
        """What the longest prefill chunk allocates: the stream stays where it is, what a layer makes comes after it."""
        plan, banks = self.plan, self.plan.mesh.dram_banks
        rows = plan.prefill_lengths[-1]
        before = 2 * tiled(rows, plan.head_dim, banks) + tiled(rows, self.embedding.gap_columns, banks)
        layers = tiled(rows, max(layer.prefill_columns for layer in self.layers), banks)
        last = tiled(rows, plan.prefill.width, banks) + self.lm_head.logits_bytes
        return before + max(layers, last) + SMALL
