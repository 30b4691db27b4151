"""A model on a mesh, as its user holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ttfamily import chat
from ttfamily.engine import checks
from ttfamily.engine.by_hand import SlotsByHand
from ttfamily.engine.calls import Call, Calls
from ttfamily.engine.engine import Engine
from ttfamily.engine.request import Request
from ttfamily.engine.runner import Runner
from ttfamily.engine.sampling import Sampling
from ttfamily.engine.text import TextStream
from ttfamily.errors import RequestError
from ttfamily.tokenizer import encode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import torch
    from transformers import PreTrainedTokenizerBase
    from typing_extensions import Self

    from ttfamily.core.blocks.transformer import Transformer
    from ttfamily.core.config.spec import ModelSpec
    from ttfamily.core.layout.plan import Plan
    from ttfamily.core.mesh.mesh import Mesh
    from ttfamily.engine.statistics import RunStatistics

    Integers = Sequence[int] | torch.Tensor | np.ndarray[Any, Any]
    Prompt = str | Integers

DEFAULT_NEW_TOKENS = 128


class Model:
    """What :func:`ttfamily.load` returns; a context manager that closes the mesh.

    ``generate`` and ``chat`` make text. ``prefill``, ``decode`` and ``release`` give logits, on slots that the caller
    runs by hand. A slot belongs to one of the two at a time: prompts of ``generate`` take slots that are free, and
    wait for one if others have them all; a slot that was prefilled by hand is its caller's until it is released.

    Streams may be read in turns, and calls may come from several threads: one at a time uses the device.

    :ivar spec: every number that shapes the model.
    :ivar plan: how it lies on the mesh.
    :ivar mesh: the open mesh.
    :ivar tokenizer: the checkpoint's, or None if it has none.
    :ivar eos_token_ids: tokens that end a text.
    :ivar runner: the device's side.
    :ivar engine: the requests' side. Streams and direct calls of ``add`` and ``step`` may share it, in one thread.
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
        self.last_run: RunStatistics | None = None
        self.runner = Runner(transformer)
        self.engine = Engine.on(self.runner)
        self._by_hand = SlotsByHand(self.engine)
        self._calls = Calls(self.engine)
        self._keep_mesh_open = keep_mesh_open
        self._closed = False

    # ---- text

    def generate(
        self,
        prompt: Prompt | Sequence[Prompt],
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
        :param stop: a string, or up to 64 of them, of up to 1024 characters.
        :returns: the new text, or a list of them; with ``stream`` an iterator over pieces of text, for
            a list over (index, piece). A stream that is not read to its end holds its slots until it is closed.
        :raises RequestError: if the request cannot be served, before anything runs; or if the model is closed, also
            while a stream is read.
        """
        self._require_open()
        prompts, single = checks.prompts(prompt)
        if len(prompts) > self.plan.max_batch_size:
            raise RequestError(
                "generate",
                got=f"{len(prompts)} prompts",
                expected=f"1 to {self.plan.max_batch_size}, the slots of this model",
                fix="Send them in turns, or load the model with a larger max_batch_size (32 at most).",
            )
        ids = [checks.prompt(self.engine.bounds, self._token_ids(each)) for each in prompts]
        new, ends = checks.new_tokens(max_new_tokens), checks.stops(stop)
        requests = [
            Request(
                tokens=tuple(tokens),
                sampling=Sampling(temperature=temperature, top_k=top_k, top_p=top_p, seed=each),
                max_new_tokens=new,
                stop_tokens=self.eos_token_ids,
            )
            for tokens, each in zip(ids, checks.seeds(seed, len(ids)), strict=True)
        ]
        tokenizer = self._need_tokenizer()
        call = Call(requests, [TextStream(tokenizer, ends) for _ in requests])
        pieces = self._calls.stream(call, self._require_open, self._note)
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
        :raises RequestError: if the checkpoint has no chat template, the template cannot take the messages, or as
            :meth:`generate` does.
        """
        self._require_open()
        tokenizer = self._need_tokenizer()
        # The template has put the special tokens in; the tokenizer would put a second set.
        return self.generate(encode(tokenizer, chat.render(tokenizer, messages), add_special_tokens=False), **options)

    def _token_ids(self, prompt: str | list[int]) -> list[int]:
        return encode(self._need_tokenizer(), prompt) if isinstance(prompt, str) else prompt

    def _need_tokenizer(self) -> PreTrainedTokenizerBase:
        if self.tokenizer is None:
            raise RequestError(
                "tokenizer",
                got="a checkpoint without one",
                expected="tokenizer.json beside the weights",
                fix="Add it, or use prefill() and decode() with token ids.",
            )
        return self.tokenizer

    def _note(self, call: Call) -> None:
        self.last_run = call.statistics()

    # ---- logits

    def prefill(self, tokens: Integers, slot: int) -> torch.Tensor:
        """Read a prompt into a slot, in place of what the slot held; the slot is the caller's until it is released.

        :param tokens: ``[n]`` integers, n from 1 to ``max_seq_len``.
        :param slot: 0 to ``max_batch_size - 1``.
        :returns: logits of the last token, ``[vocab_size]`` float32.
        :raises RequestError: if the prompt or the slot is out of range, ``generate`` has the slot, or the model is
            closed.
        """
        with self._calls.lock:
            self._require_open()
            return self._by_hand.prefill(tokens, slot)

    def decode(self, tokens: Integers, positions: Integers) -> torch.Tensor:
        """Decode one token in every occupied slot; the slots are the caller's, as after :meth:`prefill`.

        :param tokens: ``[max_batch_size]`` integers.
        :param positions: ``[max_batch_size]`` integers: where each token stands in its sequence; -1 for an
            empty slot, and for one that ``generate`` has.
        :returns: logits ``[max_batch_size, vocab_size]`` float32; NaN for empty slots.
        :raises RequestError: if a shape, a token or a position is out of range, ``generate`` has a slot, or the model
            is closed.
        """
        with self._calls.lock:
            self._require_open()
            return self._by_hand.decode(tokens, positions)

    def release(self, slot: int) -> None:
        """Give a slot's cache blocks back; the slot is empty then, and free for ``generate``.

        :raises RequestError: if there is no such slot, ``generate`` has it, or the model is closed.
        """
        with self._calls.lock:
            self._require_open()
            self._by_hand.release(slot)

    # ---- the end

    def close(self) -> None:
        """Close the mesh, unless the caller opened it; the model cannot be used any more. Twice does nothing."""
        with self._calls.lock:
            if not self._closed:
                self._closed = True
                self.runner.close()
                if not self._keep_mesh_open:
                    self.mesh.close()

    def _require_open(self) -> None:
        if self._closed:
            raise RequestError(
                "model", got="a use of it after close()", expected="an open model", fix="Load the model again."
            )
        self.mesh.require_open()

    def __enter__(self) -> Self:
        """Return the model.

        :raises RequestError: if it is closed.
        """
        self._require_open()
        return self

    def __exit__(self, *_: object) -> None:
        """Close the mesh."""
        self.close()
