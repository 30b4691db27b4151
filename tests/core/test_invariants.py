"""What must not change a model's numbers does not change one bit of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
import ttnn
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig

from ttfamily import model as model_module
from ttfamily.core.kv_cache import SPARE
from ttfamily.core.placement import integers, read_cut
from ttfamily.core.plan import BLOCK_SIZE
from ttfamily.testing.blocks import POISON, HostCache
from ttfamily.testing.models import loaded, make_llama
from ttfamily.testing.pcc import assert_pcc
from ttfamily.testing.strategies import SEEDS, examples, lengths, random_tokens

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ttfamily.core.mesh import Mesh
    from ttfamily.model import Model

SLOTS, LONGEST, STEPS, VOCAB = 6, 192, 4, 203
CONFIG = LlamaConfig(
    vocab_size=VOCAB,
    hidden_size=128,
    intermediate_size=200,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=LONGEST,
    attention_bias=True,
    mlp_bias=True,
)
PROMPTS = st.lists(lengths(LONGEST - STEPS), min_size=1, max_size=SLOTS)


@pytest.fixture(scope="module", params=["n150", "n300"])
def model(request: pytest.FixtureRequest) -> Iterator[Model]:
    """One small model for the whole module, on a mesh of its own."""
    with loaded(make_llama(CONFIG), request.param, max_batch_size=SLOTS, max_seq_len=LONGEST) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _nothing_is_left_in_the_slots(model: Model) -> Iterator[None]:
    yield
    for slot in range(SLOTS):
        model.release(slot)


def run(model: Model, prompts: Mapping[int, torch.Tensor], seed: int) -> dict[int, torch.Tensor]:
    """Prefill slots and decode them all; returns logits ``[1 + STEPS, VOCAB]`` for every slot.

    A slot's tokens depend on its prompt and the seed, never on the slot.
    """
    for slot in range(SLOTS):
        model.release(slot)
    logits = {slot: [model.prefill(prompt, slot)] for slot, prompt in prompts.items()}
    next_tokens = {slot: random_tokens(VOCAB, STEPS, seed + len(prompt)) for slot, prompt in prompts.items()}
    for step in range(STEPS):
        tokens, positions = idle()
        for slot, prompt in prompts.items():
            tokens[slot], positions[slot] = next_tokens[slot][step], len(prompt) + step
        out = model.decode(tokens, positions)
        for slot in prompts:
            logits[slot].append(out[slot])
    return {slot: torch.stack(rows) for slot, rows in logits.items()}


def idle() -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and positions of a step in which every slot is empty."""
    return torch.zeros(SLOTS, dtype=torch.int32), torch.full((SLOTS,), -1, dtype=torch.int32)


def prompts_of(counts: list[int], seed: int) -> dict[int, torch.Tensor]:
    return {slot: random_tokens(VOCAB, count, seed + slot) for slot, count in enumerate(counts)}


def same(got: torch.Tensor, want: torch.Tensor) -> bool:
    return torch.equal(got, want) and bool(got.isfinite().all())


@examples(5)
@given(counts=PROMPTS, order=st.permutations(range(SLOTS)), seed=SEEDS)
def test_a_permutation_of_the_slots_permutes_the_output(
    model: Model, counts: list[int], order: list[int], seed: int
) -> None:
    prompts = prompts_of(counts, seed)
    straight = run(model, prompts, seed)
    permuted = run(model, {order[slot]: prompt for slot, prompt in prompts.items()}, seed)
    assert all(same(permuted[order[slot]], straight[slot]) for slot in prompts)


@examples(5)
@given(counts=PROMPTS, seed=SEEDS)
def test_a_user_alone_gets_what_it_gets_beside_others(model: Model, counts: list[int], seed: int) -> None:
    prompts = prompts_of(counts, seed)
    together = run(model, prompts, seed)
    for slot, prompt in prompts.items():
        assert same(run(model, {slot: prompt}, seed)[slot], together[slot])


@examples(5)
@given(counts=PROMPTS, seed=SEEDS)
def test_poisoned_padding_changes_nothing(model: Model, counts: list[int], seed: int) -> None:
    prompts = prompts_of(counts, seed)
    clean = run(model, prompts, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_module, "integers", random_padding(prompts, seed))
        patch.setattr(model._graph, "run", poison_before(model, model._graph.run))
        poisoned = run(model, prompts, seed)
    assert all(same(poisoned[slot], clean[slot]) for slot in prompts)
    fill_caches(model, 0.0)


def random_padding(prompts: Mapping[int, torch.Tensor], seed: int) -> object:
    """Stand in for ``integers``: the ids behind the end of a prompt are random instead of 0."""

    def put(mesh: Mesh, tensor: torch.Tensor, dtype: ttnn.DataType) -> ttnn.Tensor:
        for prompt in prompts.values() if dtype == ttnn.uint32 else ():
            ids, rest = tensor[0, : len(prompt)], tensor[0, len(prompt) :]
            if torch.equal(ids, prompt) and not rest.any():
                tensor = torch.cat([ids, random_tokens(VOCAB, len(rest), seed).to(ids.dtype)])[None]
        return integers(mesh, tensor, dtype)

    return put


def poison_before(model: Model, real: object) -> object:
    """Before every step: NaN in all blocks that nobody owns, 1e4 in the rows that their owner has not written yet.

    The spare block stays finite: flash decode reads it and masks what it read by an addition.
    """

    def step(tokens: torch.Tensor, positions: torch.Tensor, table: torch.Tensor | None) -> torch.Tensor:
        for values in caches(model):
            written = torch.zeros(values.shape[2], BLOCK_SIZE, dtype=torch.bool)
            owned = torch.zeros(values.shape[2], 1, dtype=torch.bool)
            for slot in (positions >= 0).nonzero().flatten().tolist():
                count = int(positions[slot])
                blocks = model._pages.table[slot, : count // BLOCK_SIZE + 1].long()
                rows = torch.arange(len(blocks) * BLOCK_SIZE).unflatten(0, (-1, BLOCK_SIZE)) < count
                written[blocks], owned[blocks] = rows, True
            owned[SPARE] = True
            fill = torch.where(owned, POISON, float("nan")).to(values.dtype).expand(written.shape)
            values.copy_(torch.where(written[None, None, :, None, :, None], values, fill[None, None, :, None, :, None]))
        return real(tokens, positions, table)

    return step


def caches(model: Model) -> list[torch.Tensor]:
    """The values behind every cache, ``[rows, columns, blocks, heads, 32, head_dim]``, to be written to."""
    kept = [layer.attention.cache for layer in model.transformer.layers]
    return [tensor.cell.read() for cache in kept for tensor in (cache.keys, cache.values)]


def fill_caches(model: Model, value: float) -> None:
    for values in caches(model):
        values.fill_(value)


@examples(4)
@given(count=lengths(LONGEST), seed=SEEDS)
def test_a_prefill_writes_to_its_own_pages_only(model: Model, count: int, seed: int) -> None:
    fill_caches(model, 0.0)  # or the same prompt might find its own keys there, from an example before
    model.prefill(random_tokens(VOCAB, 50, seed), 1)
    before = [values.clone() for values in caches(model)]
    model.prefill(random_tokens(VOCAB, count, seed), 0)
    mine = model._pages.table[0, : -(-count // BLOCK_SIZE)].tolist()
    others = [block for block in range(model.plan.num_blocks) if block not in mine]
    for values, old in zip(caches(model), before, strict=True):
        assert torch.equal(values[:, :, others], old[:, :, others])
        assert not torch.equal(values[:, :, mine], old[:, :, mine])


@examples(3)
@given(count=lengths(70), seed=SEEDS)
def test_prefill_equals_as_many_decode_steps(model: Model, count: int, seed: int) -> None:
    prompt = random_tokens(VOCAB, count, seed)
    model.release(3)  # nothing in it: decode starts at position 0
    for position in range(count):
        tokens, positions = idle()
        tokens[3], positions[3] = prompt[position], position
        stepped = model.decode(tokens, positions)[3]
    assert_pcc(stepped, model.prefill(prompt, 5), 0.999)
    for layer in model.transformer.layers:
        cache = HostCache(model.plan, layer.attention.cache)
        pages = model._pages.table
        for one, other in zip(cache.of(pages[3], count), cache.of(pages[5], count), strict=True):
            assert_pcc(one, other, 0.999)


@examples(4)
@given(first=lengths(LONGEST - STEPS), second=lengths(LONGEST - STEPS), seed=SEEDS)
def test_a_refilled_slot_forgets_what_it_held(model: Model, first: int, second: int, seed: int) -> None:
    fresh = run(model, {2: random_tokens(VOCAB, second, seed)}, seed)
    run(model, {2: random_tokens(VOCAB, first, seed + 1), 4: random_tokens(VOCAB, first, seed + 2)}, seed)
    again = run(model, {2: random_tokens(VOCAB, second, seed)}, seed)
    assert same(again[2], fresh[2])


def test_a_trace_equals_eager(model: Model) -> None:
    model.prefill(random_tokens(VOCAB, 45, 0), 1)
    model.prefill(random_tokens(VOCAB, 100, 1), 4)
    tokens, positions = idle()
    tokens[1], positions[1], tokens[4], positions[4] = 7, 45, 9, 100
    traced = [model.decode(tokens, positions) for _ in range(3)]  # the very first of a model is eager
    graph = model._graph
    eager = model.transformer.decode(graph.tokens, graph.positions, graph.rope_positions, graph.page_table)
    for slot in (1, 4):
        assert same(read_cut(eager, 3)[0, 0, slot, :VOCAB].float(), traced[0][slot])
        assert all(same(again[slot], traced[0][slot]) for again in traced)


def test_empty_slots_have_no_logits(model: Model) -> None:
    model.prefill(random_tokens(VOCAB, 9, 0), 0)
    tokens, positions = idle()
    positions[0] = 9
    logits = model.decode(tokens, positions)
    assert logits.shape == (SLOTS, VOCAB)
    assert logits.dtype == torch.float32
    assert logits[0].isfinite().all()
    assert logits[1:].isnan().all()
