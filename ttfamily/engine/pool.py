"""The blocks of the cache: which of them belong to which slot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ttfamily.core.blocks.kv_cache import SPARE
from ttfamily.errors import RequestError

if TYPE_CHECKING:
    from ttfamily.core.layout.plan import Plan


class BlockPool:
    """The blocks of each slot in the order of their tokens, and those that are free.

    :param slots: how many users there can be.
    :param pages: the most blocks that one user can have.
    :param blocks: how many blocks each replica has, the spare one among them.
    :param block_size: tokens in a block.
    :param replicas: that the slots are spread over; blocks are numbered in each on their own.
    :ivar table: ``[slots, pages]`` int32, the spare block where a slot owns none.
    """

    def __init__(self, slots: int, pages: int, blocks: int, *, block_size: int, replicas: int = 1) -> None:
        self.slots, self.block_size = slots, block_size
        self.table = torch.full((slots, pages), SPARE, dtype=torch.int32)
        self._owned: list[list[int]] = [[] for _ in range(slots)]
        self._blocks, self._slots_per_replica = blocks, -(-slots // replicas)
        self._free_by_replica = [list(range(blocks - 1, SPARE, -1)) for _ in range(replicas)]

    @classmethod
    def of(cls, plan: Plan) -> BlockPool:
        """All blocks of a plan's caches."""
        return cls(
            plan.max_batch_size,
            plan.pages,
            plan.num_blocks,
            block_size=plan.block_size,
            replicas=plan.mesh.replicas,
        )

    def free(self, slot: int) -> int:
        """How many blocks ``slot`` could still get."""
        return len(self._free_of(slot))

    def missing(self, slot: int, tokens: int) -> int:
        """How many blocks ``slot`` lacks for its first ``tokens`` tokens."""
        return max(0, -(-tokens // self.block_size) - len(self._owned[slot]))

    def ever_fits(self, tokens: int) -> bool:
        """Whether a slot could hold so many tokens if it had all blocks of its replica."""
        return tokens <= min(self.table.shape[1], self._blocks - 1) * self.block_size

    def reserve(self, slot: int, tokens: int) -> None:
        """Give ``slot`` the blocks that its first ``tokens`` tokens need, beside those it has.

        :raises RequestError: if there are not enough; the slot then has what it had.
        """
        free, owned, missing = self._free_of(slot), self._owned[slot], self.missing(slot, tokens)
        if missing > len(free):
            raise RequestError(
                f"slot {slot}",
                got=f"{tokens} tokens, which need {missing} more blocks of {self.block_size}",
                expected=f"at most {len(free)}, the blocks that are free",
                fix="Release a slot, or load the model with a smaller max_seq_len or max_batch_size.",
            )
        for _ in range(missing):
            self.table[slot, len(owned)] = free[-1]
            owned.append(free.pop())

    def release(self, slot: int) -> None:
        """Take all blocks of ``slot`` back."""
        self._free_of(slot).extend(reversed(self._owned[slot]))
        self._owned[slot] = []
        self.table[slot] = SPARE

    def row(self, slot: int) -> torch.Tensor:
        """The blocks of ``slot``, ``[pages]`` int32; the spare one after its last."""
        return self.table[slot]

    def _free_of(self, slot: int) -> list[int]:
        return self._free_by_replica[slot // self._slots_per_replica]
