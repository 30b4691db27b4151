"""Decoder layers: norms, two blocks, residual additions, and the collectives behind the blocks' partial sums."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import ttnn

from ttfamily.core.ccl import reducer

if TYPE_CHECKING:
    from ttfamily.core.blocks import Blocks
    from ttfamily.core.plan import Plan
    from ttfamily.core.steps import DecodeStep, PrefillChunk
    from ttfamily.core.weights import Weights

# B users, S tokens, D hidden_size (whole on every device)

DRAM = ttnn.DRAM_MEMORY_CONFIG


class Layer(ABC):
    """What all layers have. A layer frees what it is given."""

    def __init__(self, plan: Plan, weights: Weights, layer: int, blocks: Blocks) -> None:
        self.attention_norm = blocks.attention_norm(plan, weights, "layer.attention_norm", layer)
        self.attention = blocks.attention(plan, weights, layer)
        self.mlp = blocks.mlp(plan, weights, layer)
        self.residual = plan.residual_memory
        self.decode_reduce = reducer(plan.mesh, self.residual)
        self.prefill_reduce = reducer(plan.mesh, DRAM)

    @abstractmethod
    def decode(self, x: ttnn.Tensor, step: DecodeStep) -> ttnn.Tensor:
        """One token for every user: ``[1, 1, B, D] -> [1, 1, B, D]``, width-sharded in L1."""

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
        attended = self.decode_reduce(self.attention.decode(self.attention_norm.decode(x), step))  # one collective
        h = _add(x, attended, self.residual)
        fed = self.decode_reduce(self.mlp.decode(self.mlp_norm.decode(h)))  # one collective
        return _add(h, fed, self.residual)

    def prefill(self, x: ttnn.Tensor, chunk: PrefillChunk) -> ttnn.Tensor:
        attended = self.prefill_reduce(self.attention.prefill(self.attention_norm.prefill(x), chunk))  # one collective
        h = _add(x, attended, DRAM)
        fed = self.prefill_reduce(self.mlp.prefill(self.mlp_norm.prefill(h)))  # one collective
        return _add(h, fed, DRAM)


# Parallel layers (Wang and Komatsuzaki 2021) add both blocks' partial sums on each device: one collective for two.


class ParallelLayer(_TwoNorms):
    """``x + attention(norm(x)) + mlp(norm(x))``, each with a norm of its own."""

    def decode(self, x: ttnn.Tensor, step: DecodeStep) -> ttnn.Tensor:
        fed = self.mlp.decode(self.mlp_norm.decode(x))
        attended = self.attention.decode(self.attention_norm.decode(x), step)
        both = self.decode_reduce(_add(attended, fed, self.residual))  # one collective
        return _add(x, both, self.residual)

    def prefill(self, x: ttnn.Tensor, chunk: PrefillChunk) -> ttnn.Tensor:
        fed = self.mlp.prefill(self.mlp_norm.prefill(x))
        attended = self.attention.prefill(self.attention_norm.prefill(x), chunk)
        both = self.prefill_reduce(_add(attended, fed, DRAM))  # one collective
        return _add(x, both, DRAM)


class SharedNormLayer(Layer):
    """``x + attention(n) + mlp(n)`` with ``n = norm(x)``."""

    def decode(self, x: ttnn.Tensor, step: DecodeStep) -> ttnn.Tensor:
        normed = self.attention_norm.decode(x)
        fed = self.mlp.decode(ttnn.clone(normed))  # a block frees what it is given
        attended = self.attention.decode(normed, step)
        both = self.decode_reduce(_add(attended, fed, self.residual))  # one collective
        return _add(x, both, self.residual)

    def prefill(self, x: ttnn.Tensor, chunk: PrefillChunk) -> ttnn.Tensor:
        normed = self.attention_norm.prefill(x)
        fed = self.mlp.prefill(ttnn.clone(normed))
        attended = self.attention.prefill(normed, chunk)
        both = self.prefill_reduce(_add(attended, fed, DRAM))  # one collective
        return _add(x, both, DRAM)


LAYERS: dict[str, type[Layer]] = {
    "sequential": SequentialLayer,
    "parallel": ParallelLayer,
    "parallel_shared_norm": SharedNormLayer,
}


def _add(x: ttnn.Tensor, y: ttnn.Tensor, memory_config: ttnn.MemoryConfig) -> ttnn.Tensor:
    total = ttnn.add(x, y, memory_config=memory_config)
    ttnn.deallocate(x), ttnn.deallocate(y)
    return total
