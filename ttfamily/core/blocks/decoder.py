"""Decoder layers: norms, two blocks, residual additions, and the collectives behind the blocks' partial sums."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import ttnn

from ttfamily.core.blocks.ccl import Exchange

if TYPE_CHECKING:
    from ttfamily.core.blocks.slots import Blocks
    from ttfamily.core.blocks.steps import DecodeStep, PrefillChunk
    from ttfamily.core.layout.plan import Plan
    from ttfamily.core.weights.rules import Weights

# B users, S tokens, D what a device has of the hidden size

DRAM = ttnn.DRAM_MEMORY_CONFIG


class Layer(ABC):
    """What all layers have. A layer frees what it is given."""

    def __init__(self, plan: Plan, weights: Weights, layer: int, blocks: Blocks) -> None:
        self.attention_norm = blocks.attention_norm(plan, weights, "layer.attention_norm", layer)
        self.attention = blocks.attention(plan, weights, layer)
        self.mlp = blocks.mlp(plan, weights, layer)
        self.residual = plan.residual_memory
        self.partial = plan.partial_memory
        self.in_decode, self.in_prefill = Exchange(plan, "decode"), Exchange(plan, "prefill")

    @abstractmethod
    def decode(self, x: ttnn.Tensor, step: DecodeStep) -> ttnn.Tensor:
        """One token for every user: ``[1, 1, B, D] -> [1, 1, B, D]``, where decode has the residual stream."""

    @abstractmethod
    def prefill(self, x: ttnn.Tensor, chunk: PrefillChunk) -> ttnn.Tensor:
        """One chunk of a prompt: ``[1, 1, S, D] -> [1, 1, S, D]`` in DRAM."""


class _TwoNorms(Layer):
    """A layer whose MLP has a norm of its own."""

    def __init__(self, plan: Plan, weights: Weights, layer: int, blocks: Blocks) -> None:
        super().__init__(plan, weights, layer, blocks)
        self.mlp_norm = blocks.mlp_norm(plan, weights, "layer.mlp_norm", layer)


class SequentialLayer(_TwoNorms):
    """``h = x + attention(norm(x))``, then ``h + mlp(norm(h))``."""

    def decode(self, x: ttnn.Tensor, step: DecodeStep) -> ttnn.Tensor:
        between = self.in_decode
        attended = self.attention.decode(between.before_column(self.attention_norm.decode(x)), step)
        h = _add(x, between.after_row(attended), self.residual)
        fed = self.mlp.decode(between.before_column(self.mlp_norm.decode(h)))
        return _add(h, between.after_row(fed), self.residual)

    def prefill(self, x: ttnn.Tensor, chunk: PrefillChunk) -> ttnn.Tensor:
        between = self.in_prefill
        attended = self.attention.prefill(between.before_column(self.attention_norm.prefill(x)), chunk)
        h = _add(x, between.after_row(attended), DRAM)
        fed = self.mlp.prefill(between.before_column(self.mlp_norm.prefill(h)))
        return _add(h, between.after_row(fed), DRAM)


# Parallel layers (Wang and Komatsuzaki 2021) add both blocks' partial sums on each device: one collective for two.


class ParallelLayer(_TwoNorms):
    """``x + attention(norm(x)) + mlp(norm(x))``, each with a norm of its own."""

    def decode(self, x: ttnn.Tensor, step: DecodeStep) -> ttnn.Tensor:
        between = self.in_decode
        fed = self.mlp.decode(between.before_column(self.mlp_norm.decode(x)))
        attended = self.attention.decode(between.before_column(self.attention_norm.decode(x)), step)
        return _add(x, between.after_row(_add(attended, fed, self.partial)), self.residual)

    def prefill(self, x: ttnn.Tensor, chunk: PrefillChunk) -> ttnn.Tensor:
        between = self.in_prefill
        fed = self.mlp.prefill(between.before_column(self.mlp_norm.prefill(x)))
        attended = self.attention.prefill(between.before_column(self.attention_norm.prefill(x)), chunk)
        return _add(x, between.after_row(_add(attended, fed, DRAM)), DRAM)


class SharedNormLayer(Layer):
    """``x + attention(n) + mlp(n)`` with ``n = norm(x)``."""

    def decode(self, x: ttnn.Tensor, step: DecodeStep) -> ttnn.Tensor:
        between = self.in_decode
        normed = between.before_column(self.attention_norm.decode(x))
        fed = self.mlp.decode(ttnn.clone(normed))  # a block frees what it is given
        attended = self.attention.decode(normed, step)
        return _add(x, between.after_row(_add(attended, fed, self.partial)), self.residual)

    def prefill(self, x: ttnn.Tensor, chunk: PrefillChunk) -> ttnn.Tensor:
        between = self.in_prefill
        normed = between.before_column(self.attention_norm.prefill(x))
        fed = self.mlp.prefill(ttnn.clone(normed))
        attended = self.attention.prefill(normed, chunk)
        return _add(x, between.after_row(_add(attended, fed, DRAM)), DRAM)


LAYERS: dict[str, type[Layer]] = {
    "sequential": SequentialLayer,
    "parallel": ParallelLayer,
    "parallel_shared_norm": SharedNormLayer,
}


def _add(x: ttnn.Tensor, y: ttnn.Tensor, memory_config: ttnn.MemoryConfig) -> ttnn.Tensor:
    total = ttnn.add(x, y, memory_config=memory_config)
    ttnn.deallocate(x), ttnn.deallocate(y)
    return total
