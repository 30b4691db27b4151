"""A model on a mesh, as its user holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import ttnn

from ttfamily import chat
from ttfamily.core.blocks.kv_cache import SKIP, SPARE, PageTable
from ttfamily.core.blocks.lm_head import LmHead
from ttfamily.core.blocks.steps import PrefillChunk
from ttfamily.core.mesh.placement import BY_REPLICA, integers, read
from ttfamily.core.mesh.tiles import TILE
from ttfamily.engine import checks, generator
from ttfamily.engine.graph import DecodeGraph
from ttfamily.engine.sampling import Sampling
from ttfamily.errors import RequestError
from ttfamily.tokenizer import encode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from transformers import PreTrainedTokenizerBase
    from typing_extensions import Self

    from ttfamily.core.blocks.transformer import Transformer
    from ttfamily.core.config.spec import ModelSpec
    from ttfamily.core.layout.plan import Plan
    from ttfamily.core.mesh.mesh import Mesh

DEFAULT_NEW_TOKENS = 128


class Model:
    """What :func:`ttfamily.load` returns; a context manager that closes the mesh.

    :ivar spec: every number that shapes the model.
    :ivar plan: how it lies on the mesh.
    :ivar mesh: the open mesh.
    :ivar tokenizer: the checkpoint's, or None if it has none.
    :ivar last_run: what the last ``generate`` or ``chat`` took, or None.
    """

    def __init__(
        self,
        transformer: Transformer,
        *,
        tokenizer: PreTrainedTokenizerBase | None,
        eos_token_ids: frozenset[int],
        keep_mesh_open: bool = False,
    ) -> None:
        plan = transformer.plan
        self.transformer = transformer
        self.plan: Plan = plan
        self.spec: ModelSpec = plan.spec
        self.mesh: Mesh = plan.mesh
        self.tokenizer = tokenizer
        self.eos_token_ids = eos_token_ids
        self.last_run: generator.RunStatistics | None = None
        self._pages = PageTable(plan.max_batch_size, plan.pages, plan.num_blocks, replicas=plan.mesh.replicas)
        self._graph = DecodeGraph(transformer)
        self._keep_mesh_open = keep_mesh_open
        self._closed = False

    # ---- text

    def generate(
        self,
        prompt: str | Sequence[int] | Sequence[str] | Sequence[Sequence[int]],
        *,
        max_new_tokens: int = DEFAULT_NEW_TOKENS,
        temperature: float = 0.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | Sequence[int] | None = None,
        stop: str | Sequence[str] | None = None,
        stream: bool = False,
    ) -> Any:
        """Continue a prompt, or up to ``max_batch_size`` prompts at once.

        Generation ends at ``max_new_tokens``, at an end-of-sequence token, at a stop string (which is
        not part of the text), or when the context is full.

        :param prompt: a text or its token ids; or a list of either.
        :param temperature: 0 takes the most likely token every time.
        :param seed: repeats a draw; one for all prompts, or one each. A prompt's text depends on its
            own seed only, never on the prompts beside it.
        :param stop: a string, or several.
        :returns: the new text, or a list of them; with ``stream`` an iterator over pieces of text, for
            a list over (index, piece).
        :raises RequestError: if the request cannot be served, before anything runs.
        """
        single = isinstance(prompt, str) or all(isinstance(token, int) for token in prompt)
        prompts: Sequence[Any] = [prompt] if single else prompt
        ids = [self._token_ids(text) for text in prompts]
        if not 1 <= len(ids) <= self.plan.max_batch_size:
            raise RequestError(
                "generate",
                got=f"{len(ids)} prompts",
                expected=f"1 to {self.plan.max_batch_size}, the slots of this model",
                fix="Send them in turns, or load the model with a larger max_batch_size (32 at most).",
            )
        for tokens in ids:
            checks.prompt(self.plan, torch.tensor(tokens, dtype=torch.int64))
        seeds = [seed] * len(ids) if seed is None or isinstance(seed, int) else list(seed)
        pieces = generator.run(
            self,
            ids,
            sampling=[Sampling(temperature=temperature, top_k=top_k, top_p=top_p, seed=s) for s in seeds],
            stop=[stop] if isinstance(stop, str) else list(stop or ()),
            max_new_tokens=max_new_tokens,
        )
        if stream:
            return (piece for _, piece in pieces) if single else pieces
        texts = [""] * len(ids)
        for index, piece in pieces:
            texts[index] += piece
        return texts[0] if single else texts

    def chat(self, messages: Sequence[Mapping[str, str]], **options: Any) -> Any:
        """Answer a conversation, ``[{"role": "user", "content": ...}, ...]``, through the chat template.

        :param options: those of :meth:`generate`.
        :returns: what :meth:`generate` returns for one prompt.
        :raises RequestError: if the checkpoint has no chat template, or the template cannot take the messages.
        """
        tokenizer = self._need_tokenizer()
        # The template has put the special tokens in; the tokenizer would put a second set.
        return self.generate(encode(tokenizer, chat.render(tokenizer, messages), add_special_tokens=False), **options)

    def _token_ids(self, prompt: str | Sequence[int]) -> list[int]:
        return encode(self._need_tokenizer(), prompt) if isinstance(prompt, str) else list(prompt)

    def _need_tokenizer(self) -> PreTrainedTokenizerBase:
        if self.tokenizer is None:
            raise RequestError(
                "tokenizer",
                got="a checkpoint without one",
                expected="tokenizer.json beside the weights",
                fix="Add it, or use prefill() and decode() with token ids.",
            )
        return self.tokenizer

    # ---- logits

    def prefill(self, tokens: torch.Tensor, slot: int) -> torch.Tensor:
        """Read a prompt into a slot, in place of what the slot held.

        :param tokens: ``[n]`` integers, n from 1 to ``max_seq_len``.
        :param slot: 0 to ``max_batch_size - 1``.
        :returns: logits of the last token, ``[vocab_size]`` float32.
        :raises RequestError: if the prompt or the slot is out of range.
        """
        checks.prompt(self.plan, tokens)
        checks.slot(self.plan, slot)
        self._pages.release(slot)
        self._pages.reserve(slot, len(tokens))
        longest = self.plan.prefill_lengths[-1]
        *before, last = tokens.split(longest)
        for index, part in enumerate(before):
            ttnn.deallocate(self._prefill_chunk(part, slot, index * longest, len(tokens)))
        x = self._prefill_chunk(last, slot, len(before) * longest, len(tokens))
        logits = self.transformer.logits_at(x, len(last) - 1)
        ttnn.deallocate(x)
        replica = slot // self.plan.slots_per_replica
        rows: torch.Tensor = read(self.mesh, logits, LmHead.LOGITS)[0, 0].unflatten(0, (-1, TILE))[replica]
        return rows[(len(last) - 1) % TILE, : self.spec.vocab_size].float()

    def _prefill_chunk(self, part: torch.Tensor, slot: int, start: int, prompt: int) -> ttnn.Tensor:
        length = self.plan.padded_length(start, len(part))
        padded = torch.zeros(1, length, dtype=torch.int32)
        padded[0, : len(part)] = part
        chunk = PrefillChunk(
            start=start,
            length=length,
            fill_pages=self._in_replica(slot, self._pages.fill_row(slot, start, length), SKIP),
            read_pages=self._in_replica(slot, self._pages.read_row(slot, start + length), SPARE),
            rotation=self.transformer.rope.prefill(start, length, prompt),
        )
        return self.transformer.prefill(integers(self.mesh, padded, ttnn.uint32), chunk)

    def _in_replica(self, slot: int, row: torch.Tensor, elsewhere: int) -> ttnn.Tensor:
        """Put a slot's row of pages, ``[1, P]``, on its replica; the others get a page that means nothing to them."""
        rows = row.new_full((self.mesh.replicas, row.shape[1]), elsewhere)
        rows[slot // self.plan.slots_per_replica] = row
        return integers(self.mesh, rows, ttnn.int32, BY_REPLICA)

    def decode(self, tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Decode one token in every occupied slot.

        :param tokens: ``[max_batch_size]`` integers.
        :param positions: ``[max_batch_size]`` integers: where each token stands in its sequence; -1 for an
            empty slot.
        :returns: logits ``[max_batch_size, vocab_size]`` float32; NaN for empty slots.
        :raises RequestError: if a shape, a token or a position is out of range.
        """
        checks.step(self.plan, tokens, positions)
        busy = positions >= 0
        for slot in busy.nonzero().flatten().tolist():
            self._pages.reserve(slot, int(positions[slot]) + 1)
        table = self._pages.table if self._pages.changed else None
        logits = self._graph.run(tokens.masked_fill(~busy, 0), positions, table)[:, : self.spec.vocab_size]
        self._pages.changed = False
        return logits.masked_fill_(~busy[:, None], torch.nan)

    def release(self, slot: int) -> None:
        """Give a slot's cache blocks back; the slot is empty then."""
        checks.slot(self.plan, slot)
        self._pages.release(slot)

    def close(self) -> None:
        """Close the mesh, unless the caller opened it; the model cannot be used any more."""
        if not self._closed:
            self._closed = True
            self._graph.close()
            if not self._keep_mesh_open:
                self.mesh.close()

    def __enter__(self) -> Self:
        """Return the model."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the mesh."""
        self.close()
