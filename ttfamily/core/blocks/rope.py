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
from ttfamily.core.mesh.placement import put
from ttfamily.tiles import TILE, round_up

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ttfamily.core.layout.plan import Plan
    from ttfamily.core.weights.weights import Weights

# B users, S tokens, E head_dim (padded)

ROPE = "rope"  # the slot of what the tables take


@attrs.frozen
class Rotation:
    """What turns queries and keys at given positions: decode ``[1, B, 1, E]``, prefill ``[1, 1, S, E]``.

    Never deallocated by hand: a slice of a whole table is that table.
    """

    cos: ttnn.Tensor
    sin: ttnn.Tensor
    swap: ttnn.Tensor


class Rope(Block):
    """The tables of all positions, on the device, and the rotation of a step or a prompt."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        mesh, programs = plan.mesh, plan.programs
        self.positions = round_up(plan.max_seq_len, plan.prefill_lengths[-1])  # room for the last chunk's padding
        shape = (1, 1, self.positions, plan.head_dim)
        # Cosine and sine, looked up by row in decode, cut in whole tiles in prefill: one copy in each layout.
        self.rows, self.tiled = (
            tuple(Parameter(mesh=mesh, slot=ROPE, shape=shape, layout=layout) for _ in ("cos", "sin"))
            for layout in (ttnn.ROW_MAJOR_LAYOUT, ttnn.TILE_LAYOUT)
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
        tables = self._widen(rope_table(self.plan.spec.rope, self.positions))
        for copies in (self.rows, self.tiled):
            for parameter, table in zip(copies, tables, strict=True):
                parameter.fill(table)
        self.prefill_swap.fill(pair_swap())
        self.decode_swap.fill(pair_swap().repeat(1, 1, self.plan.users, 1))

    def decode(self, positions: ttnn.Tensor) -> Rotation:
        """``[1, B]`` uint32 -> the rotation of every user's position; all on the device, so a trace holds it."""
        cos, sin = (self._look_up(table, positions) for table in self.rows)
        return Rotation(cos, sin, self.decode_swap.tensor)

    def _look_up(self, table: Parameter, positions: ttnn.Tensor) -> ttnn.Tensor:
        rows = ttnn.embedding(positions, table.tensor, layout=ttnn.TILE_LAYOUT)  # [1, B, E]
        users = ttnn.transpose(ttnn.unsqueeze_to_4D(rows), 1, 2)  # [1, B, 1, E]
        return ttnn.to_memory_config(users, self.shard)

    def prefill(self, start: int, length: int, prompt: int) -> Rotation:
        """Return the rotation of tokens ``start`` to ``start + length`` of a prompt of ``prompt`` tokens."""
        if depends_on_length(self.plan.spec.rope):
            host = prompt_table(self.plan.spec.rope, prompt)
            padded = [functional.pad(t, (0, 0, 0, start + length - prompt))[start : start + length] for t in host]
            cos, sin = (put(self.plan.mesh, table, dtype=ttnn.bfloat16) for table in self._widen(padded))
        else:
            end = (1, 1, start + length, self.plan.head_dim)
            cos, sin = (ttnn.slice(table.tensor, (0, 0, start, 0), end) for table in self.tiled)
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
