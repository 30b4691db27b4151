"""From what the host says of a pass to the device tensors that the layers read: the only place that makes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import torch
import ttnn

from ttfamily.core.blocks.kv_cache import SKIP, SPARE
from ttfamily.core.blocks.steps import DecodeStep, PrefillChunk
from ttfamily.core.layout.plan import LATER_CHUNK
from ttfamily.core.mesh.placement import BY_REPLICA, integers, write
from ttfamily.errors import RequestError
from ttfamily.tiles import round_up

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ttfamily.core.blocks.rope import Rope
    from ttfamily.core.layout.plan import Plan

STICK_PAGES = 8  # 32 bytes of a page table: chunked attention reads no less
UNKNOWN = -2  # no page of any table: what the device has is not known

# n tokens, S of them padded; B rows of a replica's step (slots, and padding up to a rectangle of cores), P pages a user


@attrs.frozen(kw_only=True, eq=False)
class PromptChunk:
    """Tokens of one user's prompt that go through the layers together, on the host.

    :param slot: the user's; which of the replicas has its blocks follows from it.
    :param tokens: ``[n]`` integers, 1 to the longest prefill length.
    :param start: the position of the first one: 0, or a multiple of 256.
    :param prompt_tokens: of the whole prompt: dynamic rope scaling depends on it.
    :param pages: ``[P]`` int32, the user's blocks in the order of their tokens; what stands after the last token's
        is not looked at. Where one is -1 nothing is written, and the spare block is read.
    :param logits: whether those of the last token are wanted.
    """

    slot: int
    tokens: torch.Tensor
    start: int
    prompt_tokens: int
    pages: torch.Tensor
    logits: bool

    @classmethod
    def of(cls, prompt: Sequence[int], start: int, count: int, *, slot: int, pages: torch.Tensor) -> PromptChunk:
        """``count`` tokens of a prompt from ``start`` on, with logits if they are its last."""
        end = min(start + count, len(prompt))
        return cls(
            slot=slot,
            tokens=torch.tensor(prompt[start:end], dtype=torch.int32),
            start=start,
            prompt_tokens=len(prompt),
            pages=pages,
            logits=end == len(prompt),
        )

    @classmethod
    def all_of(cls, prompt: Sequence[int], longest: int, *, slot: int, pages: torch.Tensor) -> list[PromptChunk]:
        """Cut a prompt into chunks of up to ``longest`` tokens; the last one has logits."""
        return [cls.of(prompt, start, longest, slot=slot, pages=pages) for start in range(0, len(prompt), longest)]


@attrs.frozen(kw_only=True, eq=False)
class DecodeBatch:
    """One token in every slot, on the host.

    :param tokens: ``[slots]`` integers; of an empty slot any valid id.
    :param positions: ``[slots]`` integers; an empty slot is at -1.
    :param page_table: ``[slots, P]`` int32; where a slot owns no block, one that exists.
    """

    tokens: torch.Tensor
    positions: torch.Tensor
    page_table: torch.Tensor


def every_chunk(plan: Plan) -> Iterator[PromptChunk]:
    """Return a chunk for every program that a prefill can need: each length at the start, and each after it.

    They write to no page.
    """
    pages = torch.full((plan.padded_seq_len // plan.block_size,), SKIP, dtype=torch.int32)
    for start in (0, LATER_CHUNK):
        for length in plan.prefill_lengths:
            if start + length <= plan.padded_seq_len and plan.padded_length(start, length) == length:
                tokens = torch.zeros(length, dtype=torch.int32)
                yield PromptChunk(
                    slot=0, tokens=tokens, start=start, prompt_tokens=start + length, pages=pages, logits=True
                )


def prefill_inputs(plan: Plan, rope: Rope, chunk: PromptChunk) -> tuple[ttnn.Tensor, PrefillChunk]:
    """Put a chunk on the device.

    :returns: the tokens, ``[1, S]`` uint32, padded, and what the layers need beside them.
    :raises RequestError: if it is longer than a chunk may be, starts elsewhere than a chunk may, has too few pages, or
        if there is no such slot.
    """
    count, longest = len(chunk.tokens), plan.prefill_lengths[-1]
    if not 0 <= chunk.slot < plan.max_batch_size:
        raise RequestError(
            "slot",
            got=str(chunk.slot),
            expected=f"0 to {plan.max_batch_size - 1}, the slots of this model",
            fix="Use a slot that the model has.",
        )
    if not 1 <= count <= longest or chunk.start < 0 or chunk.start % LATER_CHUNK:
        raise _wrong(chunk, f"1 to {longest} tokens from 0 or a multiple of {LATER_CHUNK}")
    most = plan.padded_seq_len
    if chunk.start + count > most:  # so short a context may have no length for a later chunk
        raise _wrong(chunk, f"an end within {plan.max_seq_len}")
    length = plan.padded_length(chunk.start, count)
    if chunk.start + length > most:
        raise _wrong(chunk, f"an end, padded to {length} tokens, within {plan.max_seq_len}")
    padded = torch.zeros(1, length, dtype=torch.int32)
    padded[0, :count] = chunk.tokens
    size, end = plan.block_size, chunk.start + count
    first, after = chunk.start // size, -(-end // size)
    if len(chunk.pages) < after:
        raise _wrong(chunk, f"a row of at least {after} pages, not {len(chunk.pages)}")
    filled = chunk.pages[first:after]
    read = chunk.pages[:after].masked_fill(chunk.pages[:after] == SKIP, SPARE)
    return integers(plan.mesh, padded, ttnn.uint32), PrefillChunk(
        start=chunk.start,
        length=length,
        start_index=integers(plan.mesh, torch.tensor([chunk.start], dtype=torch.int32), ttnn.int32),
        fill_pages=_on_replica(plan, chunk.slot, filled, -(-length // size), SKIP),
        read_pages=_on_replica(plan, chunk.slot, read, round_up(plan.padded_seq_len // size, STICK_PAGES), SPARE),
        rotation=rope.prefill(chunk.start, length, chunk.prompt_tokens),
    )


def _wrong(chunk: PromptChunk, expected: str) -> RequestError:
    return RequestError(
        "chunk of a prompt",
        got=f"{len(chunk.tokens)} tokens from position {chunk.start}",
        expected=expected,
        fix="Cut the prompt into chunks of the longest prefill length.",
    )


def _on_replica(plan: Plan, slot: int, pages: torch.Tensor, count: int, elsewhere: int) -> ttnn.Tensor:
    """Put a user's pages, ``[1, count]``, on its replica; the others get a page that means nothing to them."""
    rows = torch.full((plan.mesh.replicas, count), elsewhere, dtype=torch.int32)
    rows[slot // plan.slots_per_replica, : len(pages)] = pages
    return integers(plan.mesh, rows, ttnn.int32, BY_REPLICA)


class DecodeInputs:
    """A decode step's inputs in device buffers that stay where they are, so that a trace can read them.

    :ivar tokens: ``[1, B]`` uint32 on each replica.
    :ivar rope_positions: ``[1, B]`` uint32, the positions with 0 for an empty row.
    :ivar positions: ``[B]`` int32, -1 for an empty row.
    :ivar page_table: ``[B, P]`` int32.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan, self._mesh = plan, plan.mesh
        replicas, users = plan.mesh.replicas, plan.users
        self.tokens = self._put(torch.zeros(replicas, users, dtype=torch.int32), ttnn.uint32)
        self.rope_positions = self._put(torch.zeros(replicas, users, dtype=torch.int32), ttnn.uint32)
        self.positions = self._put(torch.full((replicas * users,), -1, dtype=torch.int32), ttnn.int32)
        self._table = torch.full((plan.max_batch_size, plan.pages), SPARE, dtype=torch.int32)  # as the device has it
        self.page_table = self._put(self._by_replica(self._table, SPARE).flatten(0, 1), ttnn.int32)

    def write(self, batch: DecodeBatch) -> None:
        """Write a step's values into the buffers; a page table that is there already is not written again.

        :raises RequestError: if one of them is not of every slot, or the page table has rows of another length.
        """
        slots, pages = self._table.shape
        self._check("tokens", batch.tokens, [slots])
        self._check("positions", batch.positions, [slots])
        self._check("page_table", batch.page_table, [slots, pages])
        positions = self._by_replica(batch.positions.to(torch.int32), -1)  # [replicas, B]
        tokens = self._by_replica(batch.tokens.to(torch.int32), 0)
        write(self._mesh, tokens, self.tokens, BY_REPLICA)
        write(self._mesh, positions.clamp(min=0), self.rope_positions, BY_REPLICA)
        write(self._mesh, positions.flatten(), self.positions, BY_REPLICA)
        if not torch.equal(batch.page_table, self._table):
            table = batch.page_table.clone()
            self._table.fill_(UNKNOWN)  # while it is being written, and if that fails
            write(self._mesh, self._by_replica(table, SPARE).flatten(0, 1), self.page_table, BY_REPLICA)
            self._table = table

    def step(self, rope: Rope) -> DecodeStep:
        """What the layers need of them beside the tokens."""
        return DecodeStep.at(rope, self.positions, self.rope_positions, self.page_table)

    def of_slots(self, rows: torch.Tensor) -> torch.Tensor:
        """``[replicas * B, ...] -> [slots, ...]``: without the empty rows that the step was padded with."""
        plan = self._plan
        of_replica = rows.unflatten(0, (plan.mesh.replicas, -1))[:, : plan.slots_per_replica]
        slots: torch.Tensor = of_replica.flatten(0, 1)[: plan.max_batch_size]
        return slots

    @staticmethod
    def _check(name: str, values: torch.Tensor, shape: list[int]) -> None:
        if list(values.shape) != shape:
            raise RequestError(
                f"decode batch, {name}",
                got=f"shape {list(values.shape)}",
                expected=f"{shape}, an entry for every slot of the model",
                fix="Give an empty slot the position -1, any valid token, and the spare page.",
            )

    def _by_replica(self, by_slot: torch.Tensor, empty: int) -> torch.Tensor:
        """``[slots, ...] -> [replicas, B, ...]``: replica after replica, each filled up with empty rows."""
        plan, replicas = self._plan, self._mesh.replicas
        missing = replicas * plan.slots_per_replica - len(by_slot)
        others = by_slot.new_full((missing, *by_slot.shape[1:]), empty)
        slots = torch.cat([by_slot, others]).unflatten(0, (replicas, -1))
        rows = by_slot.new_full((replicas, plan.users - slots.shape[1], *by_slot.shape[1:]), empty)
        return torch.cat([slots, rows], 1)

    def _put(self, values: torch.Tensor, dtype: ttnn.DataType) -> ttnn.Tensor:
        return integers(self._mesh, values, dtype, BY_REPLICA)
