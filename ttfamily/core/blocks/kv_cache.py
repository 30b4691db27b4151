"""The paged key/value cache: blocks on the device, their owners on the host."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import ttnn

from ttfamily.core.config.precision import ttnn_dtype
from ttfamily.core.layout.plan import BLOCK_SIZE
from ttfamily.errors import RequestError

if TYPE_CHECKING:
    from ttfamily.core.layout.plan import Plan

SKIP = -1  # paged_fill_cache writes nothing to such a page
# Flash attention reads whole chunks, so it touches pages behind a user's last one, and masks them. Those name this
# block: it exists, holds zeros, and nobody owns it.
SPARE = 0


class LayerCache:
    """Keys and values of one group of heads, each ``[blocks, key/value heads, 32, head_dim]``, zeroed.

    They start as zeros because flash decode masks with an addition: what lies behind a user's
    position must at least be finite.
    """

    def __init__(self, plan: Plan, layer: int) -> None:
        shape = [plan.num_blocks, plan.heads.key_value_per_group, BLOCK_SIZE, plan.head_dim]
        self.keys, self.values = (
            ttnn.zeros(
                shape,
                dtype=ttnn_dtype(plan.precision.of(layer).kv_cache),
                layout=ttnn.TILE_LAYOUT,
                device=plan.mesh.device,
                memory_config=ttnn.DRAM_MEMORY_CONFIG,
            )
            for _ in range(2)
        )


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
