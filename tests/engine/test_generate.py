"""``generate`` and ``chat`` on a simulated mesh, beside Hugging Face's own ``generate``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from transformers import AutoTokenizer, LlamaForCausalLM

import ttfamily

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

TEXT = ["the quick brown fox jumps over the lazy dog", "pack my box with five dozen liquor jugs"]
PROMPTS = ["the quick", "pack my box with", "dog"]


@pytest.fixture(scope="module")
def tokenizer(small_checkpoint: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(small_checkpoint)


@pytest.fixture(scope="module")
def model(small_checkpoint: Path) -> Iterator[ttfamily.Model]:
    with ttfamily.load(small_checkpoint, mesh="n300", device="simulated", max_batch_size=4, max_seq_len=96) as loaded:
        yield loaded


def by_hugging_face(folder: Path, tokenizer: PreTrainedTokenizerBase, prompt: str, new: int) -> list[int]:
    """Greedy tokens, up to where Hugging Face's own first two choices are too close for bf16 to tell apart."""
    hf = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = torch.tensor([tokenizer(prompt)["input_ids"]])
    out = hf.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, do_sample=False, pad_token_id=0,
        output_scores=True, return_dict_in_generate=True,
    )  # fmt: skip
    clear = []
    for token, (scores,) in zip(out.sequences[0, ids.shape[1] :].tolist(), out.scores, strict=True):
        first, second = scores.topk(2).values
        if first - second < 0.08 * scores.std():
            break
        clear.append(token)
    return clear


def test_greedy_text_is_hugging_faces(
    model: ttfamily.Model, small_checkpoint: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    compared = 0
    for prompt in [*PROMPTS, *TEXT[0].split(), *TEXT[1].split()]:
        expected = by_hugging_face(small_checkpoint, tokenizer, prompt, 24)
        compared += len(expected)
        if expected:
            text = model.generate(prompt, max_new_tokens=len(expected))
            assert text == model.tokenizer.decode(expected, skip_special_tokens=True)
    assert compared >= 30


def test_a_prompts_text_does_not_depend_on_the_prompts_beside_it(model: ttfamily.Model) -> None:
    alone = [model.generate(prompt, max_new_tokens=12) for prompt in PROMPTS]
    assert model.generate(PROMPTS, max_new_tokens=12) == alone
    assert model.generate(PROMPTS[::-1], max_new_tokens=12) == alone[::-1]


def test_the_same_holds_for_drawn_text_with_a_seed(model: ttfamily.Model) -> None:
    how = {"temperature": 2.0, "top_p": 0.95, "max_new_tokens": 12}
    alone = [model.generate(prompt, seed=seed, **how) for seed, prompt in enumerate(PROMPTS)]
    assert model.generate(PROMPTS, seed=[0, 1, 2], **how) == alone
    assert len({model.generate(PROMPTS[0], seed=seed, **how) for seed in range(8)}) == 8


def test_exactly_max_new_tokens_are_made(model: ttfamily.Model) -> None:
    for new in (1, 2, 7):
        model.generate(PROMPTS, max_new_tokens=new)
        run = model.last_run
        assert (run.new_tokens, run.batch, run.decode_steps) == (3 * new, 3, new - 1)
        assert run.prompt_tokens == sum(len(model.tokenizer(p)["input_ids"]) for p in PROMPTS)


def test_pieces_of_a_stream_join_to_the_text(model: ttfamily.Model) -> None:
    assert "".join(model.generate(PROMPTS[0], max_new_tokens=16, stream=True)) == model.generate(
        PROMPTS[0], max_new_tokens=16
    )
    texts = ["", "", ""]
    for index, piece in model.generate(PROMPTS, max_new_tokens=16, stream=True):
        texts[index] += piece
    assert texts == model.generate(PROMPTS, max_new_tokens=16)


def test_a_stop_string_ends_one_request_and_not_the_others(model: ttfamily.Model) -> None:
    whole = model.generate(PROMPTS, max_new_tokens=16)
    stop = whole[0][5:8]
    stopped = model.generate(PROMPTS, max_new_tokens=16, stop=stop)
    assert stopped == [text.split(stop)[0] for text in whole]


def test_the_end_of_sequence_token_ends_the_text(
    model: ttfamily.Model, small_checkpoint: Path, tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = by_hugging_face(small_checkpoint, tokenizer, PROMPTS[0], 16)
    end = next(i for i, token in enumerate(ids) if token not in ids[:i] and i > 2)
    monkeypatch.setattr(model, "eos_token_ids", frozenset({ids[end]}))
    assert model.generate(PROMPTS[0], max_new_tokens=16) == model.tokenizer.decode(ids[:end])
    assert model.last_run.new_tokens == end + 1


def test_generation_ends_where_the_context_does(model: ttfamily.Model) -> None:
    model.generate(list(range(1, 91)), max_new_tokens=50)
    assert model.last_run.sequence_length == 96


def test_a_chat_goes_through_the_template(model: ttfamily.Model) -> None:
    ids = model.tokenizer("<user>hello<bot>", add_special_tokens=False)["input_ids"]
    expected = model.generate(list(ids), max_new_tokens=8)
    assert model.chat([{"role": "user", "content": "hello"}], max_new_tokens=8) == expected


def test_an_abandoned_stream_frees_its_slots(model: ttfamily.Model) -> None:
    free = model.engine.pool.free(0)
    pieces = model.generate(PROMPTS, max_new_tokens=16, stream=True)
    next(pieces)
    pieces.close()
    assert model.engine.pool.free(0) == free


def test_empty_slots_have_no_logits(model: ttfamily.Model) -> None:
    model.prefill(torch.tensor([5, 6, 7]), 0)
    logits = model.decode(torch.zeros(4, dtype=torch.int64), torch.tensor([3, -1, -1, -1]))
    assert logits.shape == (4, model.spec.vocab_size)
    assert logits.dtype == torch.float32
    assert logits[0].isfinite().all()
    assert logits[1:].isnan().all()
    model.release(0)
