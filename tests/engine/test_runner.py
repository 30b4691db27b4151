"""The device's side by itself: it is told slots and pages, and anyone's do."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import torch
import ttnn
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from transformers import LlamaConfig

from ttfamily.core.mesh.mesh import Mesh, open_mesh
from ttfamily.engine import inputs
from ttfamily.engine.inputs import DecodeBatch, PromptChunk
from ttfamily.engine.runner import Runner
from ttfamily.errors import PlanError, RequestError, SimulatorError
from ttfamily.model import Model
from ttfamily.testing.bench import Bench
from ttfamily.testing.correlation import assert_pcc
from ttfamily.testing.models import make_model, save_checkpoint
from ttfamily.testing.strategies import random_tokens

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONFIG = LlamaConfig(
    vocab_size=203, hidden_size=128, intermediate_size=200, num_attention_heads=4, num_key_value_heads=2,
    num_hidden_layers=1, max_position_embeddings=1024,
)  # fmt: skip
SLOTS = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(make_model(CONFIG), tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def n150() -> Iterator[Mesh]:
    mesh = open_mesh("n150", "simulated")
    yield mesh
    mesh.close()


@pytest.fixture(scope="module")
def runner(folder: Path, n150: Mesh) -> Iterator[Runner]:
    bench = Bench(folder, n150, max_batch_size=SLOTS, max_seq_len=600)
    made = Runner(bench.transformer())
    yield made
    made.close()


def read(runner: Runner, prompt: list[int], pages: torch.Tensor, chunk: int, slot: int = 0) -> torch.Tensor:
    """Logits after a prompt that is read in chunks."""
    for start in range(0, len(prompt), chunk):
        logits = runner.prefill(PromptChunk.of(prompt, start, chunk, slot=slot, pages=pages))
        assert (logits is None) == (start + chunk < len(prompt))
    assert logits is not None
    return logits


def pages_of(runner: Runner, *, seed: int) -> torch.Tensor:
    """A row of pages in no order, all of the user's own."""
    blocks = 1 + torch.randperm(runner.plan.num_blocks - 1, generator=torch.Generator().manual_seed(seed))
    return blocks[: runner.plan.pages].int()


def test_a_prompt_is_read_in_chunks_of_any_whole_number_of_256(runner: Runner) -> None:
    prompt = random_tokens(203, 590, 0).tolist()
    whole = read(runner, prompt, pages_of(runner, seed=0), 1024)
    for chunk in (256, 512):
        assert_pcc(read(runner, prompt, pages_of(runner, seed=chunk), chunk), whole, 0.9999)


def test_neither_slot_nor_pages_change_a_bit(runner: Runner) -> None:
    prompt, plan = random_tokens(203, 70, 1).tolist(), runner.plan
    outputs = []
    for slot in range(SLOTS):
        pages = pages_of(runner, seed=slot)
        first = read(runner, prompt, pages, 1024, slot)
        table = torch.zeros(SLOTS, plan.pages, dtype=torch.int32)
        tokens, positions = torch.zeros(SLOTS, dtype=torch.int64), torch.full((SLOTS,), -1)
        table[slot], tokens[slot], positions[slot] = pages, 7, 70
        outputs.append((first, runner.decode(DecodeBatch(tokens=tokens, positions=positions, page_table=table))[slot]))
    for first, second in outputs:
        assert first.isfinite().all()
        assert torch.equal(first, outputs[0][0])
        assert torch.equal(second, outputs[0][1])


def test_a_page_table_that_has_not_changed_is_not_written_again(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    real = inputs.write
    monkeypatch.setattr(
        inputs, "write", lambda mesh, values, *rest: (written.append(values.shape), real(mesh, values, *rest))
    )
    table = torch.zeros(SLOTS, runner.plan.pages, dtype=torch.int32)
    table[0] = pages_of(runner, seed=9)
    counts = []
    for change in (0, 0, 3):
        written.clear()
        table[1, 0] = change  # in place, as a pool changes it
        batch = DecodeBatch(
            tokens=torch.zeros(SLOTS, dtype=torch.int64), positions=torch.tensor([4, -1, -1]), page_table=table
        )
        runner.decode(batch)
        counts.append(len(written))
    assert counts == [4, 3, 4]


@pytest.mark.parametrize(("start", "count", "pages", "message"), [
    (0, 0, 99, "got 0 tokens"), (0, 1025, 99, "1025 tokens from position 0; expected 1 to 1024"),
    (128, 3, 99, "position 128; expected .* from 0 or a multiple of 256"), (0, 70, 2, "at least 3 pages, not 2"),
    (768, 300, 99, "within 600"), (-256, 3, 99, "3 tokens from position -256; expected .* from 0 or a multiple"),
    (1024, 1, 99, "1 tokens from position 1024; expected an end within 600"),
])  # fmt: skip
def test_a_chunk_that_cannot_be_run_is_refused(
    runner: Runner, start: int, count: int, pages: int, message: str
) -> None:
    chunk = PromptChunk(
        slot=0, tokens=torch.zeros(count, dtype=torch.int64), start=start, prompt_tokens=600,
        pages=torch.ones(pages, dtype=torch.int32), logits=True,
    )  # fmt: skip
    with pytest.raises(RequestError, match=message):
        runner.prefill(chunk)


@pytest.mark.parametrize("slot", [-1, SLOTS])
def test_a_chunk_for_a_slot_that_is_not_there_is_refused(runner: Runner, slot: int) -> None:
    chunk = PromptChunk.of([1, 2], 0, 2, slot=slot, pages=torch.ones(99, dtype=torch.int32))
    with pytest.raises(RequestError, match=f"slot: got {slot}; expected 0 to 2, the slots of this model"):
        runner.prefill(chunk)


@pytest.mark.parametrize("longest", [40, 200, 256])
def test_a_later_chunk_of_a_short_context_is_refused(folder: Path, n150: Mesh, longest: int) -> None:
    bench = Bench(folder, n150, max_batch_size=1, max_seq_len=longest)
    chunk = PromptChunk.of([1] * 257, 256, 1, slot=0, pages=torch.ones(99, dtype=torch.int32))
    with pytest.raises(RequestError, match=f"1 tokens from position 256; expected an end within {longest}"):
        inputs.prefill_inputs(bench.plan, bench.rope(), chunk)


@pytest.mark.parametrize(("name", "shape"), [
    ("tokens", (SLOTS - 1,)), ("tokens", (SLOTS, 1)), ("positions", (SLOTS + 1,)), ("page_table", (SLOTS - 1, None)),
    ("page_table", (SLOTS, 3)),
])  # fmt: skip
def test_a_decode_batch_of_another_shape_is_refused(runner: Runner, name: str, shape: tuple[int | None, ...]) -> None:
    right = {"tokens": (SLOTS,), "positions": (SLOTS,), "page_table": (SLOTS, runner.plan.pages)}
    wrong = tuple(runner.plan.pages if size is None else size for size in shape)
    batch = {key: torch.zeros(wrong if key == name else size, dtype=torch.int32) for key, size in right.items()}
    sizes = [rf"\[{', '.join(map(str, each))}\]" for each in (wrong, right[name])]
    with pytest.raises(RequestError, match=f"decode batch, {name}: got shape {sizes[0]}; expected {sizes[1]}"):
        runner.decode(DecodeBatch(**batch))


def test_a_page_table_whose_writing_failed_is_written_again(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    prompt, plan = random_tokens(203, 70, 3).tolist(), runner.plan
    pages = pages_of(runner, seed=11)
    read(runner, prompt, pages, 1024)
    table = torch.zeros(SLOTS, plan.pages, dtype=torch.int32)
    table[0] = pages
    batch = DecodeBatch(tokens=torch.tensor([7, 0, 0]), positions=torch.tensor([70, -1, -1]), page_table=table)
    expected = runner.decode(batch)[0]
    runner.decode(attrs.evolve(batch, page_table=torch.zeros_like(table)))
    read(runner, prompt, pages, 1024)
    real = inputs.write

    def failing(mesh: Mesh, values: torch.Tensor, *rest: Any) -> None:
        if values.ndim == 2 and values.shape[-1] == plan.pages:
            raise KeyboardInterrupt
        real(mesh, values, *rest)

    monkeypatch.setattr(inputs, "write", failing)
    with pytest.raises(KeyboardInterrupt):
        runner.decode(batch)
    monkeypatch.setattr(inputs, "write", real)
    assert torch.equal(runner.decode(batch)[0], expected)


# ---- the trace


def test_a_capture_that_failed_leaves_no_trace(folder: Path, n150: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(folder, n150, max_batch_size=SLOTS, max_seq_len=64)
    runner = Runner(bench.transformer())
    table = torch.zeros(SLOTS, runner.plan.pages, dtype=torch.int32)
    table[0] = pages_of(runner, seed=2)
    batch = DecodeBatch(tokens=torch.tensor([7, 0, 0]), positions=torch.tensor([0, -1, -1]), page_table=table)
    expected = runner.decode(batch)[0]  # op by op
    eager = runner.graph.eager
    calls: list[int] = []

    def failing_in_the_capture() -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return eager()

    monkeypatch.setattr(runner.graph, "eager", failing_in_the_capture)
    with pytest.raises(KeyboardInterrupt):
        runner.warm_up()
    assert not runner.graph.captured
    assert torch.equal(runner.decode(batch)[0], expected)  # op by op
    runner.warm_up()
    assert runner.graph.captured
    compiled = len(calls)
    for _ in range(2):
        assert torch.equal(runner.decode(batch)[0], expected)  # by the trace
    assert len(calls) == compiled
    runner.close()
    runner.close()


# ---- the warm-up


def nobody(runner: Runner) -> DecodeBatch:
    """A step with every slot empty."""
    table = torch.zeros(SLOTS, runner.plan.pages, dtype=torch.int32)
    return DecodeBatch(tokens=torch.zeros(SLOTS), positions=torch.full((SLOTS,), -1), page_table=table)


def test_nothing_is_compiled_after_a_warm_up(folder: Path, n150: Mesh) -> None:
    runner = Runner(Bench(folder, n150, max_batch_size=SLOTS, max_seq_len=1000).transformer())
    done: list[tuple[int, int]] = []
    runner.warm_up(lambda *passes: done.append(passes))
    assert done == [(number, len(done)) for number in range(1, len(done) + 1)]
    compiled, ran = runner.programs, 0

    @given(
        start=st.sampled_from([0, 256, 512, 768]),
        count=st.one_of(st.integers(1, 64), st.integers(1, 1024)),
        slot=st.integers(0, SLOTS - 1),
        logits=st.booleans(),
    )
    @settings(max_examples=80)
    def any_chunk(start: int, count: int, slot: int, *, logits: bool) -> None:
        nonlocal ran
        chunk = PromptChunk(
            slot=slot,
            tokens=torch.zeros(count, dtype=torch.int32),
            start=start,
            prompt_tokens=start + count,
            pages=torch.ones(99, dtype=torch.int32),
            logits=logits,
        )
        try:
            with n150.rehearsal():
                runner.run_prefill(chunk)
        except RequestError:  # too long for this context
            reject()
        ran += 1
        runner.decode(nobody(runner))
        assert runner.programs == compiled

    try:
        any_chunk()
    finally:
        runner.close()
    assert ran > 20


def test_a_prompt_of_a_new_length_after_a_capture_that_no_warm_up_preceded_is_refused(folder: Path, n150: Mesh) -> None:
    runner = Runner(Bench(folder, n150, max_batch_size=SLOTS, max_seq_len=300).transformer())
    pages = torch.ones(99, dtype=torch.int32)
    for length in (32, 300):
        runner.prefill(PromptChunk.of([1] * length, 0, length, slot=0, pages=pages))
    runner.decode(nobody(runner))
    runner.graph.capture()
    runner.prefill(PromptChunk.of([1] * 20, 0, 20, slot=0, pages=pages))  # 32, padded, as before
    with pytest.raises(SimulatorError, match=r"got an op that was compiled while trace \d+ was alive.*warm_up=False"):
        runner.prefill(PromptChunk.of([1] * 90, 0, 90, slot=0, pages=pages))
    with pytest.raises(SimulatorError, match="which was compiled while trace"):
        runner.decode(nobody(runner))
    runner.close()


def test_a_warm_up_writes_nothing_into_the_cache_of_a_simulated_mesh(folder: Path, n150: Mesh) -> None:
    runner = Runner(Bench(folder, n150, max_batch_size=SLOTS, max_seq_len=64).transformer())
    caches = [layer.attention.caches[0].keys for layer in runner.transformer.layers]
    before = [ttnn.to_torch(keys) for keys in caches]
    runner.warm_up()
    for keys, old in zip(caches, before, strict=True):
        assert torch.equal(ttnn.to_torch(keys), old)
    runner.close()


def test_on_hardware_a_program_that_is_compiled_late_is_a_warning(
    folder: Path, n150: Mesh, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    runner = Runner(Bench(folder, n150, max_batch_size=SLOTS, max_seq_len=64).transformer())
    runner.warm_up()
    chunk = PromptChunk.of([1] * 40, 0, 40, slot=0, pages=torch.ones(99, dtype=torch.int32))
    runner.run_prefill(chunk)
    assert not caplog.records
    counts = itertools.count(runner.programs)
    monkeypatch.setattr(Runner, "programs", property(lambda _: next(counts)))  # as if each look found one more
    runner.run_prefill(chunk)
    assert "programs were compiled after the decode step's trace was captured, by 64 tokens" in caplog.text
    runner.close()


# ---- block sizes


def logits_with(block_size: int, folder: Path, mesh: Mesh) -> list[torch.Tensor]:
    """Logits of prompts of several lengths and of steps over the edges of blocks."""
    bench = Bench(folder, mesh, max_batch_size=SLOTS, max_seq_len=300, block_size=block_size)
    assert bench.plan.block_size == block_size
    assert bench.plan.pages * block_size == 384
    made = []
    with Model(bench.transformer(), tokenizer=None, eos_token_ids=frozenset(), keep_mesh_open=True) as model:
        lengths = (5, 63, 130)
        made += [model.prefill(random_tokens(203, n, n), slot) for slot, n in enumerate(lengths)]
        for step in range(3):
            made += model.decode([1, 2, 3], [n + step for n in lengths])
        pages = torch.arange(1, bench.plan.pages + 1, dtype=torch.int32)
        made.append(read(model.runner, random_tokens(203, 290, 9).tolist(), pages, 256))  # and of a later chunk
    return made


@pytest.mark.parametrize("block_size", [64, 128])
def test_the_block_size_changes_no_bit(block_size: int, folder: Path, n150: Mesh) -> None:
    for got, expected in zip(logits_with(block_size, folder, n150), logits_with(32, folder, n150), strict=True):
        assert torch.equal(got, expected)


@pytest.mark.parametrize("block_size", [0, 16, 96, 256, 32.0, True, "32", None])
def test_a_block_size_that_flash_decode_cannot_step_over_is_refused(block_size: Any, folder: Path, n150: Mesh) -> None:
    with pytest.raises(PlanError, match=r"block_size: got .*; expected one of 32, 64, 128"):
        Bench(folder, n150, block_size=block_size)
