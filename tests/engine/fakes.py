"""A runner without a device: its cache is lists of tokens, and its logits follow from what stands there."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import attrs
import torch

from ttfamily.engine.checks import Bounds
from ttfamily.engine.engine import Engine
from ttfamily.engine.pool import BlockPool
from ttfamily.engine.sampling import sample
from ttfamily.engine.scheduler import Scheduler, Work

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ttfamily.engine.inputs import DecodeBatch, PromptChunk
    from ttfamily.engine.request import Request

VOCAB, CHUNK, BLOCK = 23, 8, 4


def logits_of(tokens: Sequence[int]) -> torch.Tensor:
    """What a model that has read these tokens says next, ``[VOCAB]``."""
    seed = zlib.crc32(bytes(tokens))
    return 3 * torch.randn(VOCAB, generator=torch.Generator().manual_seed(seed))


def alone(request: Request, max_seq_len: int) -> list[int]:
    """The new tokens of a request that has a model for itself."""
    tokens, random = list(request.tokens), request.sampling.generator()
    while True:
        tokens.append(sample(logits_of(tokens), request.sampling, random))
        new = tokens[len(request.tokens) :]
        if new[-1] in request.stop_tokens or len(new) == request.max_new_tokens or len(tokens) >= max_seq_len:
            return new


@attrs.define(slots=False)  # tests put other methods in
class FakeRunner:
    """Writes tokens where it is told, and reads all that it says next from there."""

    slots: int
    replicas: int
    cache: dict[tuple[int, int], list[int]] = attrs.field(factory=dict)
    calls: list[str] = attrs.field(factory=list)

    def prefill(self, chunk: PromptChunk) -> torch.Tensor | None:
        self.calls.append("prefill")
        for i, token in enumerate(chunk.tokens.tolist()):
            self._write(chunk.slot, chunk.pages, chunk.start + i, token)
        end = chunk.start + len(chunk.tokens)
        return logits_of(self._read(chunk.slot, chunk.pages, end)) if chunk.logits else None

    def decode(self, batch: DecodeBatch) -> torch.Tensor:
        self.calls.append("decode")
        logits = torch.full((self.slots, VOCAB), torch.nan)
        for slot, position in enumerate(batch.positions.tolist()):
            if position >= 0:
                pages = batch.page_table[slot]
                self._write(slot, pages, position, int(batch.tokens[slot]))
                logits[slot] = logits_of(self._read(slot, pages, position + 1))
        return logits

    def _block(self, slot: int, pages: torch.Tensor, position: int) -> list[int]:
        block = int(pages[position // BLOCK])
        assert block > 0, "a token in the spare block"
        return self.cache.setdefault((slot // -(-self.slots // self.replicas), block), [0] * BLOCK)

    def _write(self, slot: int, pages: torch.Tensor, position: int, token: int) -> None:
        self._block(slot, pages, position)[position % BLOCK] = token

    def _read(self, slot: int, pages: torch.Tensor, tokens: int) -> list[int]:
        return [self._block(slot, pages, position)[position % BLOCK] for position in range(tokens)]


class Interleaved(Scheduler):
    """Another policy: in every step one chunk of a prompt, and one token of all whose prompts are read."""

    def next(self, pool: BlockPool) -> Work:
        read = {slot: running for slot, running in self.running.items() if not running.in_prompt}
        work = super().next(pool)
        return attrs.evolve(work, decode=read) if work.parts else work


def fake_engine(
    slots: int = 3,
    blocks: int = 16,
    *,
    pages: int = 8,
    replicas: int = 1,
    scheduler: type[Scheduler] = Scheduler,
) -> Engine:
    """An engine on a :class:`FakeRunner`; ``blocks`` of each replica, the spare one among them."""
    return Engine(
        FakeRunner(slots, replicas),
        BlockPool(slots, pages, blocks, block_size=BLOCK, replicas=replicas),
        scheduler(slots, longest_chunk=CHUNK),
        Bounds(slots=slots, max_seq_len=pages * BLOCK, vocab_size=VOCAB, longest_chunk=CHUNK),
    )
