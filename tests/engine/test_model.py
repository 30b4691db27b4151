"""Slots by hand and generate side by side, streams in turns and in threads, and the end of a model."""

from __future__ import annotations

import gc
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

import ttfamily
from ttfamily.core.mesh.mesh import open_mesh
from ttfamily.errors import MeshError, RequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SLOTS = 3
PROMPTS = ["the quick", "pack my box with", "dog"]
PROMPT = torch.tensor([5, 6, 7])


@pytest.fixture(scope="module")
def opened(small_checkpoint: Path) -> Iterator[ttfamily.Model]:
    with ttfamily.load(
        small_checkpoint, mesh="n150", device="simulated", max_batch_size=SLOTS, max_seq_len=96
    ) as loaded:
        yield loaded


@pytest.fixture
def model(opened: ttfamily.Model) -> Iterator[ttfamily.Model]:
    """The model; in the end no slot and no block is in use."""
    yield opened
    for slot in range(SLOTS):
        opened.release(slot)
    assert opened.engine.pool.free(0) == opened.plan.num_blocks - 1
    assert opened.engine.unfinished == 0


def alone(model: ttfamily.Model, new: int = 12) -> list[str]:
    return [model.generate(prompt, max_new_tokens=new) for prompt in PROMPTS]


# ---- streams


def test_streams_that_are_read_in_turns_get_their_own_text(model: ttfamily.Model) -> None:
    streams = [model.generate(prompt, max_new_tokens=12, stream=True) for prompt in PROMPTS]
    texts = [""] * len(streams)
    unread = dict(enumerate(streams))
    while unread:
        for index, stream in list(unread.items()):
            piece = next(stream, None)
            if piece is None:
                del unread[index]
            else:
                texts[index] += piece
    assert texts == alone(model)


def test_a_call_within_a_stream_waits_for_a_slot_and_takes_nothing_of_it(model: ttfamily.Model) -> None:
    stream = model.generate(PROMPTS, max_new_tokens=12, stream=True)  # every slot
    texts = [""] * len(PROMPTS)
    index, piece = next(stream)
    texts[index] += piece
    within = model.generate(PROMPTS[::-1], max_new_tokens=12)
    for index, piece in stream:
        texts[index] += piece
    assert texts == within[::-1] == alone(model)


def test_streams_in_several_threads_get_their_own_text(model: ttfamily.Model) -> None:
    texts: dict[int, list[str]] = {}

    def run(number: int) -> None:
        texts[number] = [model.generate(prompt, max_new_tokens=6) for prompt in PROMPTS]

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(texts.values()) == 4 * [alone(model, 6)]


def test_a_stream_holds_nothing_before_it_is_read_and_after_it_is_dropped(model: ttfamily.Model) -> None:
    free = model.engine.pool.free(0)
    model.generate(PROMPTS, stream=True).close()
    stream = model.generate(PROMPTS, stream=True)
    assert model.engine.pool.free(0) == free
    next(stream)
    assert model.engine.pool.free(0) < free
    del stream
    gc.collect()
    assert model.engine.pool.free(0) == free
    assert model.engine.unfinished == 0
    assert model.last_run.new_tokens >= 1


def test_what_a_call_took_is_its_own(model: ttfamily.Model) -> None:
    stream = model.generate(PROMPTS[:2], max_new_tokens=9, stream=True)
    next(stream)
    model.generate(PROMPTS[2], max_new_tokens=5)
    own = model.last_run
    assert (own.batch, own.new_tokens, own.decode_steps) == (1, 5, 4)
    assert own.ttft_s > 0
    for _ in stream:
        pass
    assert (model.last_run.batch, model.last_run.new_tokens, model.last_run.decode_steps) == (2, 18, 8)


# ---- slots by hand


def test_generate_takes_no_slot_that_is_held_by_hand(model: ttfamily.Model) -> None:
    expected = alone(model)
    first = model.prefill(PROMPT, 0)
    clean = model.decode([int(first.argmax()), 0, 0], [3, -1, -1])[0]
    assert model.generate(PROMPTS, max_new_tokens=12) == expected  # three prompts in two slots
    model.prefill(PROMPT, 0)
    stream = model.generate(PROMPTS, max_new_tokens=12, stream=True)
    next(stream)
    assert torch.equal(model.decode([int(first.argmax()), 0, 0], [3, -1, -1])[0], clean)  # beside a running stream
    assert len(list(stream)) > 0


def test_generate_with_every_slot_held_by_hand_says_so(model: ttfamily.Model) -> None:
    for slot in range(SLOTS):
        model.prefill(PROMPT, slot)
    with pytest.raises(RequestError, match=r"held by prefill.*Give slots back with release"):
        model.generate(PROMPTS, max_new_tokens=4)
    model.release(1)
    assert len(model.generate(PROMPTS, max_new_tokens=4)) == 3


@pytest.mark.parametrize("use", [
    lambda m: m.prefill(PROMPT, 0), lambda m: m.decode([1, 1, 1], [0, -1, -1]), lambda m: m.release(0),
], ids=["prefill", "decode", "release"])  # fmt: skip
def test_a_slot_that_generate_has_is_refused_by_hand(model: ttfamily.Model, use: Callable[[Any], Any]) -> None:
    expected = alone(model)[0]
    stream = model.generate(PROMPTS[0], max_new_tokens=12, stream=True)
    text = next(stream)
    with pytest.raises(RequestError, match=r"slot 0: got a request that generate\(\) has running in it"):
        use(model)
    assert text + "".join(stream) == expected
    use(model)


def test_logits_are_the_same_for_every_form_of_integers(model: ttfamily.Model) -> None:
    expected = model.prefill(PROMPT, 1)
    for form in ([5, 6, 7], np.array([5, 6, 7]), PROMPT.to(torch.uint8), PROMPT.to(torch.uint16)):
        assert torch.equal(model.prefill(form, np.int64(1)), expected)
    step = model.decode(torch.tensor([0, 9, 0]), torch.tensor([-1, 3, -1]))[1]
    assert torch.equal(model.decode([0, 9, 0], np.array([-1, 3, -1]))[1], step)


def test_a_text_of_ids_in_any_form_is_the_same(model: ttfamily.Model) -> None:
    ids = model.tokenizer(PROMPTS[0])["input_ids"]
    expected = model.generate(PROMPTS[0], max_new_tokens=4)
    for form in (ids, tuple(ids), np.array(ids), torch.tensor(ids)):
        assert model.generate(form, max_new_tokens=4) == expected
    assert model.generate(torch.tensor([ids, ids]), max_new_tokens=4) == [expected, expected]


# ---- the end: these close the model, so they stand last


def test_every_use_after_close_says_so(opened: ttfamily.Model) -> None:
    model = opened
    stream = model.generate(PROMPTS[0], max_new_tokens=12, stream=True)
    unread = model.generate(PROMPTS[0], max_new_tokens=12, stream=True)
    next(stream)
    model.close()
    model.close()
    for use in (
        lambda: model.generate(PROMPTS[0]),
        lambda: model.generate(PROMPTS[0], stream=True),
        lambda: model.chat([{"role": "user", "content": "Hi"}]),
        lambda: next(stream),
        lambda: next(unread),
        lambda: model.prefill(PROMPT, 0),
        lambda: model.decode([0, 0, 0], [0, 0, 0]),
        lambda: model.release(0),
        model.__enter__,
    ):
        with pytest.raises(RequestError, match=r"model: got a use of it after close\(\); expected an open model"):
            use()
    with pytest.raises(MeshError, match="mesh 'n150': got a use of it after it was closed"):
        model.mesh.dram_bytes()
    assert model.engine.unfinished == 0


def test_a_model_on_a_mesh_that_its_caller_closed_says_so(small_checkpoint: Path) -> None:
    mesh = open_mesh("n150", "simulated")
    model = ttfamily.load(small_checkpoint, mesh=mesh, max_batch_size=2, max_seq_len=64)
    model.generate("the", max_new_tokens=3)
    mesh.close()
    with pytest.raises(MeshError, match="mesh 'n150': got a use of it after it was closed"):
        model.generate("the")
    model.close()
