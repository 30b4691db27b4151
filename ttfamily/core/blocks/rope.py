"""Rotary position embedding, with ttnn's fused op (tech report 2.2).

The op rotates neighbouring pairs, so the rows of the query and key weights are interleaved when they
are loaded: Hugging Face rotates element i with element i + rotary_dim / 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import torch
import ttnn
from torch.nn import functional

from ttfamily.core.blocks.block import Block
from ttfamily.core.blocks.parameter import Parameter
from ttfamily.core.config.rope_frequencies import depends_on_length, prompt_table, rope_table
from ttfamily.core.mesh.placement import integers, put
from ttfamily.tiles import TILE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ttfamily.core.layout.plan import Plan
    from ttfamily.core.weights.weights import Weights

# B users, S tokens, E head_dim (padded)

ROPE = "rope"  # the slot of what the tables take


@attrs.frozen
class Rotation:
    """What turns queries and keys at given positions: decode ``[1, B, 1, E]``, prefill ``[1, 1, S, E]``."""

    cos: ttnn.Tensor
    sin: ttnn.Tensor
    swap: ttnn.Tensor


class Rope(Block):
    """The tables of all positions, on the device, and the rotation of a step or a prompt."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        mesh, programs = plan.mesh, plan.programs
        shape = (1, 1, plan.padded_seq_len, plan.head_dim)
        # Cosine and sine are looked up by row: a slice would be another program wherever a chunk starts.
        self.tables = tuple(
            Parameter(mesh=mesh, slot=ROPE, shape=shape, layout=ttnn.ROW_MAJOR_LAYOUT) for _ in ("cos", "sin")
        )
        self.shard = programs.user_sharded(plan.users, TILE, plan.head_dim)
        self.prefill_swap = Parameter(mesh=mesh, slot=ROPE, shape=(1, 1, TILE, TILE))
        self.decode_swap = Parameter(
            mesh=mesh,
            slot=ROPE,
            shape=(1, 1, plan.users * TILE, TILE),
            memory_config=programs.user_sharded(plan.users, TILE, TILE),
        )

    def load(self, weights: Weights) -> None:  # noqa: ARG002 -- they follow from the spec
        """Compute the tables."""
        values = self._widen(rope_table(self.plan.spec.rope, self.plan.padded_seq_len))
        for parameter, value in zip(self.tables, values, strict=True):
            parameter.fill(value)
        self.prefill_swap.fill(pair_swap())
        self.decode_swap.fill(pair_swap().repeat(1, 1, self.plan.users, 1))

    def decode(self, positions: ttnn.Tensor) -> Rotation:
        """``[1, B]`` uint32 -> the rotation of every user's position; all on the device, so a trace holds it."""
        rows = (self._look_up(table, positions) for table in self.tables)  # [1, 1, B, E]
        cos, sin = (ttnn.to_memory_config(ttnn.transpose(row, 1, 2), self.shard) for row in rows)  # [1, B, 1, E]
        return Rotation(cos, sin, self.decode_swap.tensor)

    @staticmethod
    def _look_up(table: Parameter, positions: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, n]`` uint32 -> the table's rows, ``[1, 1, n, E]``."""
        return ttnn.unsqueeze_to_4D(ttnn.embedding(positions, table.tensor, layout=ttnn.TILE_LAYOUT))

    def prefill(self, start: int, length: int, prompt: int) -> Rotation:
        """Return the rotation of tokens ``start`` to ``start + length`` of a prompt of ``prompt`` tokens."""
        if depends_on_length(self.plan.spec.rope):
            host = prompt_table(self.plan.spec.rope, prompt)
            padded = [functional.pad(t, (0, 0, 0, start + length - prompt))[start : start + length] for t in host]
            cos, sin = (put(self.plan.mesh, table, dtype=ttnn.bfloat16) for table in self._widen(padded))
        else:
            positions = torch.arange(start, start + length, dtype=torch.int32)[None]
            on_device = integers(self.plan.mesh, positions, ttnn.uint32)
            cos, sin = (self._look_up(table, on_device) for table in self.tables)
        return Rotation(cos, sin, self.prefill_swap.tensor)

    def _widen(self, cos_sin: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """``[positions, rotary_dim / 2] -> [1, 1, positions, E]``: each angle twice, the rest unturned."""
        wide = [table.repeat_interleave(2, -1) for table in cos_sin]
        rest = self.plan.head_dim - wide[0].shape[-1]
        return [functional.pad(t, (0, rest), value=fill)[None, None] for t, fill in zip(wide, (1.0, 0.0), strict=True)]


def pair_swap() -> torch.Tensor:
    """The tile T with ``(x T)[2i] = -x[2i + 1]`` and ``(x T)[2i + 1] = x[2i]``: ``[1, 1, 32, 32]``."""
    even = torch.arange(0, TILE, 2)
    swap = torch.zeros(1, 1, TILE, TILE)
    swap[..., even + 1, even] = -1
    swap[..., even, even + 1] = 1
    return swap


def interleave(weight: torch.Tensor, head_dim: int, rotary_dim: int) -> torch.Tensor:
    """Reorder the rows of every head, ``[heads * head_dim, ...]``, so that rotated pairs are neighbours."""
    heads = weight.unflatten(0, (-1, head_dim))
    turned, rest = heads[:, :rotary_dim], heads[:, rotary_dim:]
    pairs = turned.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2)
    return torch.cat([pairs, rest], 1).flatten(0, 1)
