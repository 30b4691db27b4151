"""The paged key/value cache: blocks on the device, their owners on the host."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ttfamily.core.blocks.block import Block
from ttfamily.core.blocks.parameter import Parameter
from ttfamily.core.layout.plan import BLOCK_SIZE
from ttfamily.core.mesh.placement import Sharding
from ttfamily.errors import RequestError

if TYPE_CHECKING:
    from ttfamily.core.layout.plan import Plan
    from ttfamily.core.weights.rules import Weights

CACHE = "kv_cache"  # the slot of keys and values
SKIP = -1  # paged_fill_cache writes nothing to such a page
# Flash attention reads whole chunks, so it touches pages behind a user's last one, and masks them. Those name this
# block: it exists, holds zeros, and nobody owns it.
SPARE = 0


class LayerCache(Block):
    """Keys and values of one group of heads, each ``[blocks, key/value heads, 32, head_dim]``, zeroed.

    They start as zeros because flash decode masks with an addition: what lies after a user's
    position must at least be finite.
    """

    def __init__(self, plan: Plan, layer: int) -> None:
        mesh, heads = plan.mesh, plan.heads.key_value_per_group * plan.mesh.tensor_parallel
        self.format = plan.precision.of(layer).kv_cache
        self.tensors = tuple(
            Parameter(
                mesh=mesh,
                slot=CACHE,
                layer=layer,
                shape=(plan.num_blocks * mesh.replicas, heads, BLOCK_SIZE, plan.head_dim),
                format=self.format,
                sharding=Sharding(tensor=1, data=0),
            )
            for _ in ("keys", "values")
        )

    def load(self, weights: Weights) -> None:  # noqa: ARG002 -- a cache begins empty
        """Make both."""
        for parameter in self.tensors:
            parameter.fill_with_zeros()
        self.keys, self.values = (parameter.tensor for parameter in self.tensors)


class PageTable:
    """Which blocks belong to which slot, in the order of their tokens.

    :param slots: how many users there can be.
    :param pages: the most blocks one user can have.
    :param blocks: how many blocks each replica has, the spare one among them.
    :param replicas: that the slots are spread over; blocks are numbered in each on their own.
    :ivar table: ``[slots, pages]`` int32, the spare block where a slot owns none.
    """

    def __init__(self, slots: int, pages: int, blocks: int, *, replicas: int = 1) -> None:
        self.table = torch.full((slots, pages), SPARE, dtype=torch.int32)
        self._owned: list[list[int]] = [[] for _ in range(slots)]
        self._free_by_replica = [list(range(blocks - 1, SPARE, -1)) for _ in range(replicas)]
        self._slots_per_replica = -(-slots // replicas)
        self.changed = True

    def _free(self, slot: int) -> list[int]:
        return self._free_by_replica[slot // self._slots_per_replica]

    def reserve(self, slot: int, tokens: int) -> None:
        """Give ``slot`` the blocks that ``tokens`` tokens need, beside those it has.

        :raises RequestError: if there are not enough; the slot then has what it had.
        """
        free = self._free(slot)
        missing = -(-tokens // BLOCK_SIZE) - len(self._owned[slot])
        if missing > len(free):
            raise RequestError(
                f"slot {slot}",
                got=f"{tokens} tokens, which need {missing} more blocks of {BLOCK_SIZE}",
                expected=f"at most {len(free)}, the blocks that are free",
                fix="Release a slot, or load the model with a smaller max_seq_len or max_batch_size.",
            )
        for _ in range(missing):
            block = free.pop()
            self.table[slot, len(self._owned[slot])] = block
            self._owned[slot].append(block)
            self.changed = True

    def release(self, slot: int) -> None:
        """Take all blocks of ``slot`` back."""
        self._free(slot).extend(reversed(self._owned[slot]))
        self.changed |= bool(self._owned[slot])
        self._owned[slot] = []
        self.table[slot] = SPARE

    def fill_row(self, slot: int, start: int, length: int) -> torch.Tensor:
        """Where ``length`` tokens from ``start`` are written, ``[1, length / 32]``; -1 behind the slot's last block."""
        row = torch.full((1, length // BLOCK_SIZE), SKIP, dtype=torch.int32)
        owned = self._owned[slot][start // BLOCK_SIZE :][: row.shape[1]]
        row[0, : len(owned)] = torch.tensor(owned, dtype=torch.int32)
        return row

    def read_row(self, slot: int, length: int) -> torch.Tensor:
        """The blocks of the first ``length`` tokens, ``[1, length / 32]``; the spare one behind the slot's last."""
        row = self.fill_row(slot, 0, length)
        return row.masked_fill(row == SKIP, SPARE)
