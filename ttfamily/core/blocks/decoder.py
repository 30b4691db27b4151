"""Decoder layers: norms, two blocks, residual additions, and the collectives after the blocks' partial sums."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import ttnn

from ttfamily.core.blocks.block import Block
from ttfamily.core.blocks.collectives import Collectives
from ttfamily.tiles import tiles

if TYPE_CHECKING:
    from ttfamily.core.blocks.slots import LayerBlocks, NormBlock
    from ttfamily.core.blocks.steps import DecodeStep, PrefillChunk
    from ttfamily.core.layout.plan import Plan

# B users, S tokens, D what a device has of the hidden size


class Layer(Block, ABC):
    """What all layers have. A layer frees what it is given."""

    def __init__(self, plan: Plan, layer: int, blocks: LayerBlocks) -> None:
        self.plan = plan
        live_tiles = self.live_tiles(plan)
        self.attention_norm = blocks.attention_norm(plan, "layer.attention_norm", layer)
        self.attention = blocks.attention(plan, layer, live_tiles)
        self.mlp = blocks.mlp(plan, layer, live_tiles)
        self.residual, self.partial = plan.decode.memory, plan.decode.partial
        self.in_decode, self.in_prefill = Collectives(plan, "decode"), Collectives(plan, "prefill")

    @abstractmethod
    def decode(self, x: ttnn.Tensor, step: DecodeStep) -> ttnn.Tensor:
        """One token for every user: ``[1, 1, B, D] -> [1, 1, B, D]``, where decode has the residual stream."""

    @abstractmethod
    def prefill(self, x: ttnn.Tensor, chunk: PrefillChunk) -> ttnn.Tensor:
        """One chunk of a prompt: ``[1, 1, S, D] -> [1, 1, S, D]`` in DRAM."""

    @staticmethod
    @abstractmethod
    def live_tiles(plan: Plan) -> int:
        """L1 tiles a core that the layer itself holds while one of its blocks decodes."""

    @property
    @abstractmethod
    def prefill_columns(self) -> int:
        """As :attr:`Block.prefill_columns`: the residual stream, and the widest of blocks and additions."""

    @property
    def _gap(self) -> int:
        """Columns before the MLP's partial sums: what they were made of may have been there, if it is no wider."""
        wide = self.plan.mlp_width
        return wide if wide <= self.plan.prefill.read_width else 0

    def _left_by(self, norm: NormBlock) -> int:
        """Columns of the gap before what a norm makes, of what it made that from."""
        return norm.prefill_columns - self.plan.prefill.width

    @property
    def _joined(self) -> int:
        """Columns of a residual addition beside the stream, and of the collective before it."""
        gap = max(self.plan.fused_width, self._gap)  # attention takes the fused heads apart there
        return gap + max(2 * self.plan.partial_width, self.in_prefill.after_row.columns)


class SequentialLayer(Layer):
    """``h = x + attention(norm(x))``, then ``h + mlp(norm(h))``."""

    def __init__(self, plan: Plan, layer: int, blocks: LayerBlocks) -> None:
        super().__init__(plan, layer, blocks)
        self.mlp_norm = blocks.mlp_norm(plan, "layer.mlp_norm", layer)

    def decode(self, x: ttnn.Tensor, step: DecodeStep) -> ttnn.Tensor:
        collectives = self.in_decode
        attended = self.attention.decode(collectives.before_column(self.attention_norm.decode(x)), step)
        h = _add(x, collectives.after_row(attended), self.residual)
        fed = self.mlp.decode(collectives.before_column(self.mlp_norm.decode(h)))
        return _add(h, collectives.after_row(fed), self.residual)

    def prefill(self, x: ttnn.Tensor, chunk: PrefillChunk) -> ttnn.Tensor:
        collectives = self.in_prefill
        attended = self.attention.prefill(collectives.before_column(self.attention_norm.prefill(x)), chunk)
        h = _add_to(x, collectives.after_row(attended))
        fed = self.mlp.prefill(collectives.before_column(self.mlp_norm.prefill(h)))
        return _add_to(h, collectives.after_row(fed))

    @staticmethod
    def live_tiles(plan: Plan) -> int:
        return stream_tiles(plan)

    @property
    def prefill_columns(self) -> int:
        blocks = max(self.attention.prefill_columns, self.mlp.prefill_columns, self._joined)
        return self.plan.prefill.width + max(*map(self._left_by, (self.attention_norm, self.mlp_norm))) + blocks


# Parallel layers (Wang and Komatsuzaki 2021) add both blocks' partial sums on each device: one collective for two.


class ParallelLayer(Layer):
    """``x + attention(norm(x)) + mlp(norm(x))``, each with a norm of its own."""

    def __init__(self, plan: Plan, layer: int, blocks: LayerBlocks) -> None:
        super().__init__(plan, layer, blocks)
        self.mlp_norm = blocks.mlp_norm(plan, "layer.mlp_norm", layer)

    def decode(self, x: ttnn.Tensor, step: DecodeStep) -> ttnn.Tensor:
        collectives = self.in_decode
        fed = self.mlp.decode(collectives.before_column(self.mlp_norm.decode(x)))
        attended = self.attention.decode(collectives.before_column(self.attention_norm.decode(x)), step)
        return _add(x, collectives.after_row(_add(attended, fed, self.partial)), self.residual)

    def prefill(self, x: ttnn.Tensor, chunk: PrefillChunk) -> ttnn.Tensor:
        collectives = self.in_prefill
        fed = self.mlp.prefill(collectives.before_column(self.mlp_norm.prefill(x)))
        attended = self.attention.prefill(collectives.before_column(self.attention_norm.prefill(x)), chunk)
        return _add_to(x, collectives.after_row(_add_to(attended, fed)))

    @staticmethod
    def live_tiles(plan: Plan) -> int:
        return stream_tiles(plan) + _partial_tiles(plan)

    @property
    def prefill_columns(self) -> int:
        fed = self._gap + self.plan.partial_width  # the MLP's partial sums
        blocks = max(self.mlp.prefill_columns, fed + max(self.attention.prefill_columns, self._joined))
        return self.plan.prefill.width + self._left_by(self.attention_norm) + self._left_by(self.mlp_norm) + blocks


class SharedNormLayer(Layer):
    """``x + attention(n) + mlp(n)`` with ``n = norm(x)``."""

    def decode(self, x: ttnn.Tensor, step: DecodeStep) -> ttnn.Tensor:
        collectives = self.in_decode
        normed = collectives.before_column(self.attention_norm.decode(x))
        fed = self.mlp.decode(ttnn.clone(normed))  # a block frees what it is given
        attended = self.attention.decode(normed, step)
        return _add(x, collectives.after_row(_add(attended, fed, self.partial)), self.residual)

    def prefill(self, x: ttnn.Tensor, chunk: PrefillChunk) -> ttnn.Tensor:
        collectives = self.in_prefill
        normed = collectives.before_column(self.attention_norm.prefill(x))
        fed = self.mlp.prefill(ttnn.clone(normed))
        attended = self.attention.prefill(normed, chunk)
        return _add_to(x, collectives.after_row(_add_to(attended, fed)))

    @staticmethod
    def live_tiles(plan: Plan) -> int:
        return stream_tiles(plan) + _partial_tiles(plan)  # the shared norm's output, or the MLP's partial sums

    @property
    def prefill_columns(self) -> int:
        other = self.plan.prefill.read_width  # the shared norm's output, or the MLP's partial sums
        blocks = max(self.attention.prefill_columns, self.mlp.prefill_columns, self._joined)
        return self.plan.prefill.width + self._left_by(self.attention_norm) + self._gap + other + blocks


LAYERS: dict[str, type[Layer]] = {
    "sequential": SequentialLayer,
    "parallel": ParallelLayer,
    "parallel_shared_norm": SharedNormLayer,
}


def stream_tiles(plan: Plan) -> int:
    """L1 tiles a core that the residual stream holds in decode, with the gap that its last addition left."""
    stream, programs = plan.decode, plan.programs
    spread = -(-tiles(stream.width) // math.prod(plan.mesh.grid))
    return 2 * (programs.shard_tiles(stream.width) if stream.is_sharded else spread)


def _partial_tiles(plan: Plan) -> int:
    """L1 tiles a core of what one block leaves alive for the other: partial sums, or the normed stream."""
    programs = plan.programs
    return max(programs.shard_tiles(plan.decode.width), programs.shard_tiles(plan.partial_width))


def _add_to(x: ttnn.Tensor, y: ttnn.Tensor) -> ttnn.Tensor:
    """``x + y`` in x's place, so that the stream stays where it is and leaves no gap between tensors; frees y."""
    total = ttnn.add_(x, y)
    ttnn.deallocate(y)
    return total


def _add(x: ttnn.Tensor, y: ttnn.Tensor, memory_config: ttnn.MemoryConfig) -> ttnn.Tensor:
    total = ttnn.add(x, y, memory_config=memory_config)
    ttnn.deallocate(x), ttnn.deallocate(y)
    return total
