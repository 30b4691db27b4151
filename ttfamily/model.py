"""A model on a mesh, as its user holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import ttnn

from ttfamily.core.kv_cache import PageTable
from ttfamily.core.placement import integers, read_cut
from ttfamily.core.sampling import Sampling
from ttfamily.core.steps import PrefillChunk
from ttfamily.errors import RequestError
from ttfamily.generation import generator
from ttfamily.generation.graph import DecodeGraph

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType

    from transformers import PreTrainedTokenizerBase
    from typing_extensions import Self

    from ttfamily.core.mesh import Mesh
    from ttfamily.core.plan import Plan
    from ttfamily.core.spec import ModelSpec
    from ttfamily.core.transformer import Transformer

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
    ) -> None:
        plan = transformer.plan
        self.transformer = transformer
        self.plan: Plan = plan
        self.spec: ModelSpec = plan.spec
        self.mesh: Mesh = plan.mesh
        self.tokenizer = tokenizer
        self.eos_token_ids = eos_token_ids
        self.last_run: generator.RunStatistics | None = None
        self._pages = PageTable(plan.max_batch_size, plan.pages, plan.num_blocks)
        self._graph = DecodeGraph(transformer)
        self._closed = False

    # ---- text

    def generate(
        self,
        prompt: str | Sequence[str],
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

        :param temperature: 0 takes the most likely token every time.
        :param seed: repeats a draw; one for all prompts, or one each. A prompt's text depends on its
            own seed only, never on the prompts beside it.
        :returns: the new text, or a list of them; with ``stream`` an iterator over pieces of text, for
            a list over (index, piece).
        :raises RequestError: if the request cannot be served, before anything runs.
        """
        single = isinstance(prompt, str)
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        ids = [self._tokens(text) for text in prompts]
        pieces = self._run(ids, max_new_tokens, self._sampling(len(ids), temperature, top_k, top_p, seed), stop)
        return _collect(pieces, len(ids), single=single, stream=stream)

    def chat(self, messages: Sequence[Mapping[str, str]], **options: Any) -> Any:
        """Answer a conversation, ``[{"role": "user", "content": ...}, ...]``, through the chat template.

        :param options: those of :meth:`generate`.
        """
        tokenizer = self._need_tokenizer()
        if not getattr(tokenizer, "chat_template", None):
            raise RequestError(
                "chat",
                got="a tokenizer without a chat template",
                expected="an instruction-tuned checkpoint",
                fix="Use generate() with a prompt of your own.",
            )
        text = tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=False)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]  # the template has put them in
        stream = options.pop("stream", False)
        new, stop = options.pop("max_new_tokens", DEFAULT_NEW_TOKENS), options.pop("stop", None)
        names = ("temperature", "top_k", "top_p", "seed")
        drawn = [options.pop(name, default) for name, default in zip(names, (0.0, None, None, None), strict=True)]
        if options:
            raise RequestError("chat", got=f"options {sorted(options)}", expected="those of generate()", fix="Drop them.")
        return _collect(self._run([ids], new, self._sampling(1, *drawn), stop), 1, single=True, stream=stream)

    # ---- logits

    def prefill(self, tokens: torch.Tensor, slot: int) -> torch.Tensor:
        """Read a prompt into a slot, in place of what the slot held.

        :param tokens: ``[n]`` integers, n from 1 to ``max_seq_len``.
        :param slot: 0 to ``max_batch_size - 1``.
        :returns: logits of the last token, ``[vocab_size]`` float32.
        :raises RequestError: if the prompt or the slot is out of range.
        """
        prompt = self._checked_prompt(tokens)
        self._check_slot(slot)
        self._pages.release(slot)
        self._pages.reserve(slot, len(prompt))
        step = self.plan.prefill_lengths[-1]
        for start in range(0, len(prompt), step):
            part = prompt[start : start + step]
            x = self._prefill_chunk(part, slot, start, len(prompt))
        logits = self.transformer.logits_at(x, len(part) - 1)
        return read_cut(logits, 3)[0, 0, (len(part) - 1) % 32, : self.spec.vocab_size].float()

    def _prefill_chunk(self, part: torch.Tensor, slot: int, start: int, prompt: int) -> ttnn.Tensor:
        length = self.plan.padded_length(len(part))
        padded = torch.zeros(1, length, dtype=torch.int32)
        padded[0, : len(part)] = part
        chunk = PrefillChunk(
            start=start,
            length=length,
            fill_pages=integers(self.mesh, self._pages.fill_row(slot, start, length), ttnn.int32),
            read_pages=integers(self.mesh, self._pages.read_row(slot), ttnn.int32),
            rotation=self.transformer.rope.prefill(start, length, prompt),
        )
        return self.transformer.prefill(integers(self.mesh, padded, ttnn.uint32), chunk)

    def decode(self, tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Decode one token in every occupied slot.

        :param tokens: ``[max_batch_size]`` integers.
        :param positions: ``[max_batch_size]`` integers: where each token stands in its sequence; -1 for an
            empty slot.
        :returns: logits ``[max_batch_size, vocab_size]`` float32; NaN for empty slots.
        :raises RequestError: if a shape, a token or a position is out of range.
        """
        positions = self._checked(positions, "positions", -1, self.plan.max_seq_len)
        tokens = self._checked(tokens, "tokens", None, self.spec.vocab_size)
        busy = positions >= 0
        self._check_ids(tokens[busy])
        for slot in busy.nonzero().flatten().tolist():
            self._pages.reserve(slot, int(positions[slot]) + 1)
        table = self._pages.table if self._pages.changed else None
        logits = self._graph.run(tokens.masked_fill(~busy, 0), positions, table)[:, : self.spec.vocab_size]
        self._pages.changed = False
        return logits.masked_fill_(~busy[:, None], torch.nan)

    def release(self, slot: int) -> None:
        """Give a slot's cache blocks back; the slot is empty then."""
        self._check_slot(slot)
        self._pages.release(slot)

    def close(self) -> None:
        """Close the mesh; the model cannot be used any more."""
        if not self._closed:
            self._closed = True
            self._graph.close()
            self.mesh.close()

    def __enter__(self) -> Self:
        """Return the model."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the mesh."""
        self.close()

    # ---- checks

    def _run(
        self, ids: list[list[int]], max_new_tokens: int, sampling: list[Sampling], stop: str | Sequence[str] | None
    ) -> Iterator[tuple[int, str]]:
        if not 1 <= len(ids) <= self.plan.max_batch_size:
            raise RequestError(
                "generate",
                got=f"{len(ids)} prompts",
                expected=f"1 to {self.plan.max_batch_size}, the slots of this model",
                fix="Send them in turns, or load the model with a larger max_batch_size (32 at most).",
            )
        if max_new_tokens < 1:
            raise RequestError("max_new_tokens", got=str(max_new_tokens), expected="1 or more", fix="Correct it.")
        for prompt in ids:
            self._checked_prompt(torch.tensor(prompt))
        stops = [stop] if isinstance(stop, str) else [s for s in stop or () if s]
        return generator.run(self, ids, sampling=sampling, stop=stops, max_new_tokens=max_new_tokens)

    def _sampling(
        self, count: int, temperature: float, top_k: int | None, top_p: float | None, seed: int | Sequence[int] | None
    ) -> list[Sampling]:
        seeds = [seed] * count if seed is None or isinstance(seed, int) else list(seed)
        if len(seeds) != count:
            raise RequestError(
                "seed", got=f"{len(seeds)} seeds", expected=f"one, or {count}: one for each prompt", fix="Correct it."
            )
        return [Sampling(temperature=temperature, top_k=top_k, top_p=top_p, seed=s) for s in seeds]

    def _need_tokenizer(self) -> PreTrainedTokenizerBase:
        if self.tokenizer is None:
            raise RequestError(
                "tokenizer",
                got="a checkpoint without one",
                expected="tokenizer.json beside the weights",
                fix="Add it, or use prefill() and decode() with token ids.",
            )
        return self.tokenizer

    def _tokens(self, text: str) -> list[int]:
        return list(self._need_tokenizer()(text)["input_ids"])

    def _checked_prompt(self, tokens: torch.Tensor) -> torch.Tensor:
        if tokens.dim() != 1 or not 1 <= len(tokens) <= self.plan.max_seq_len:
            raise RequestError(
                "prompt",
                got=f"{list(tokens.shape)} tokens",
                expected=f"1 to {self.plan.max_seq_len}, the max_seq_len that the model was loaded with",
                fix="Shorten the prompt, or load the model with a larger max_seq_len.",
            )
        self._check_ids(tokens)
        return tokens

    def _check_ids(self, tokens: torch.Tensor) -> None:
        if tokens.is_floating_point() or ((tokens < 0) | (tokens >= self.spec.vocab_size)).any():
            raise RequestError(
                "tokens",
                got=f"{tokens.dtype} values from {tokens.min()} to {tokens.max()}",
                expected=f"integers from 0 to {self.spec.vocab_size - 1}",
                fix="Use the checkpoint's own tokenizer.",
            )

    def _check_slot(self, slot: int) -> None:
        if not 0 <= slot < self.plan.max_batch_size:
            raise RequestError(
                "slot", got=str(slot), expected=f"0 to {self.plan.max_batch_size - 1}", fix="Use one of the slots."
            )

    def _checked(self, values: torch.Tensor, name: str, least: int | None, beyond: int) -> torch.Tensor:
        users = self.plan.max_batch_size
        wrong = least is not None and bool(((values < least) | (values >= beyond)).any())
        if tuple(values.shape) != (users,) or values.is_floating_point() or wrong:
            raise RequestError(
                name,
                got=f"shape {list(values.shape)}, {values.dtype}, {values.tolist() if wrong else 'values'}",
                expected=f"shape [{users}], integers" + ("" if least is None else f" from {least} to {beyond - 1}"),
                fix="Give one entry for every slot; an empty slot has position -1.",
            )
        return values


def _collect(pieces: Iterator[tuple[int, str]], count: int, *, single: bool, stream: bool) -> Any:
    if stream:
        return (piece for _, piece in pieces) if single else pieces
    texts = [""] * count
    for index, piece in pieces:
        texts[index] += piece
    return texts[0] if single else texts
