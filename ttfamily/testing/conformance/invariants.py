"""What must not change a model's numbers does not change one bit of them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import strategies as st

from ttfamily.core.blocks.kv_cache import SPARE
from ttfamily.core.blocks.lm_head import LmHead
from ttfamily.core.mesh.placement import WHOLE, integers, read
from ttfamily.engine import inputs as engine_inputs
from ttfamily.testing.bench import POISON
from ttfamily.testing.caches import HostCache, cache_tensors, read_caches, write_cache
from ttfamily.testing.configs import MODEL_LENGTHS
from ttfamily.testing.conformance.chosen import drawn
from ttfamily.testing.conformance.subject import Subject
from ttfamily.testing.correlation import assert_pcc, pcc
from ttfamily.testing.equality import assert_same
from ttfamily.testing.models import make_model
from ttfamily.testing.reference import Sequence
from ttfamily.testing.strategies import SEEDS, lengths, random_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import ttnn
    from transformers import PreTrainedModel

    from ttfamily.core.mesh.mesh import Mesh
    from ttfamily.core.mesh.placement import Sharding
    from ttfamily.engine.inputs import DecodeBatch
    from ttfamily.model import Model
    from ttfamily.testing.conformance.chosen import Data

SLOTS, LONGEST, STEPS = 6, 192, 4
SMALL = 2**19  # weights of a layer
PROMPTS = st.lists(lengths(LONGEST - STEPS), min_size=1, max_size=SLOTS)
STEP = ("step",)  # what the rows of run() count
Prompts = dict[int, torch.Tensor]


class InvariantTests(Subject):
    """Small models with :data:`SLOTS` slots."""

    @contextmanager
    def small(self, mesh: Mesh, data: Data, seed: int, *, warm_up: bool = False) -> Iterator[Model]:
        """Draw a model and load it."""
        with self.both(mesh, data, seed, warm_up=warm_up) as (_, model):
            yield model

    @contextmanager
    def both(
        self, mesh: Mesh, data: Data, seed: int, *, warm_up: bool = False
    ) -> Iterator[tuple[PreTrainedModel, Model]]:
        """Draw a model and load it: as Hugging Face has it, and as we have it.

        :param warm_up: decode by a trace. Where the trace is not what is tested, compiling every program that could
            run would take longer than the test.
        """
        config = self.draw(data, layers=2, most_weights=SMALL, trained=st.sampled_from(MODEL_LENGTHS))
        hf = make_model(config, seed)
        with self.loaded(hf, mesh, max_batch_size=SLOTS, max_seq_len=LONGEST, warm_up=warm_up) as model:
            yield hf, model

    @drawn(5, counts=PROMPTS, order=st.permutations(range(SLOTS)), seed=SEEDS)
    def test_a_permutation_of_the_slots_permutes_the_output(
        self, tt_mesh: Mesh, data: Data, counts: list[int], order: list[int], seed: int
    ) -> None:
        with self.small(tt_mesh, data, seed) as model:
            prompts = prompts_of(model, counts, seed)
            straight = run(model, prompts, seed)
            permuted = run(model, {order[slot]: prompt for slot, prompt in prompts.items()}, seed)
            for slot in prompts:
                assert_same(permuted[order[slot]], straight[slot], f"user of slot {slot} in slot {order[slot]}", STEP)

    @drawn(5, counts=PROMPTS, seed=SEEDS)
    def test_a_user_alone_gets_what_it_gets_beside_others(
        self, tt_mesh: Mesh, data: Data, counts: list[int], seed: int
    ) -> None:
        with self.small(tt_mesh, data, seed) as model:
            prompts = prompts_of(model, counts, seed)
            together = run(model, prompts, seed)
            for slot, prompt in prompts.items():
                alone = run(model, {slot: prompt}, seed)[slot]
                assert_same(alone, together[slot], f"slot {slot} alone, beside {len(prompts) - 1} others", STEP)

    @drawn(5, counts=PROMPTS, seed=SEEDS)
    def test_poisoned_padding_changes_nothing(self, tt_mesh: Mesh, data: Data, counts: list[int], seed: int) -> None:
        with self.small(tt_mesh, data, seed) as model:
            prompts = prompts_of(model, counts, seed)
            clean = run(model, prompts, seed)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(engine_inputs, "integers", random_padding(model, prompts, seed))
                patch.setattr(model.runner, "decode", poison_before(model, model.runner.decode))
                poisoned = run(model, prompts, seed)
            for slot in prompts:
                assert_same(poisoned[slot], clean[slot], f"slot {slot} with poisoned padding", STEP)

    @drawn(5, count=lengths(LONGEST), seed=SEEDS)
    def test_a_prefill_writes_to_its_own_pages_only(self, tt_mesh: Mesh, data: Data, count: int, seed: int) -> None:
        with self.small(tt_mesh, data, seed) as model:
            model.prefill(random_tokens(model.spec.vocab_size, 50, seed), 1)
            before = read_caches(model)
            model.prefill(random_tokens(model.spec.vocab_size, count, seed), 0)
            mine = pages_of(model, 0)[: -(-count // model.plan.block_size)].tolist()
            others = [block for block in range(model.plan.num_blocks * model.mesh.replicas) if block not in mine]
            for number, (values, old) in enumerate(zip(read_caches(model), before, strict=True)):
                what = f"blocks {others} of another user or nobody in cache {number}"
                assert_same(values[others], old[others], what, ("place in that list",))
                assert not torch.equal(values[mine], old[mine]), f"the prompt's blocks {mine} in cache {number}"

    @drawn(5, count=lengths(70), seed=SEEDS)
    def test_prefill_equals_as_many_decode_steps(self, tt_mesh: Mesh, data: Data, count: int, seed: int) -> None:
        with self.both(tt_mesh, data, seed) as (hf, model):
            prompt = random_tokens(model.spec.vocab_size, count, seed)

            def reached() -> float:
                sequence = Sequence(hf)
                want = sequence.logits(prompt)
                return min(pcc(each.last, want) for each in sequence.in_bfloat16())

            for position in range(count):
                stepped = step(model, {3: (int(prompt[position]), position)})[3]
            assert_pcc(stepped, model.prefill(prompt, 5), 0.999, bfloat16=reached)
            for layer in model.transformer.layers:
                cache = HostCache(model.plan, layer.attention.caches)
                pairs = zip(*(cache.of(pages_of(model, slot), count) for slot in (3, 5)), strict=True)
                for one, other in pairs:
                    assert_pcc(one, other, 0.999, bfloat16=reached)

    @drawn(5, first=lengths(LONGEST - STEPS), second=lengths(LONGEST - STEPS), seed=SEEDS)
    def test_a_refilled_slot_forgets_what_it_held(
        self, tt_mesh: Mesh, data: Data, first: int, second: int, seed: int
    ) -> None:
        with self.small(tt_mesh, data, seed, warm_up=True) as model:
            vocab = model.spec.vocab_size
            fresh = run(model, {2: random_tokens(vocab, second, seed)}, seed)
            run(model, {2: random_tokens(vocab, first, seed + 1), 4: random_tokens(vocab, first, seed + 2)}, seed)
            again = run(model, {2: random_tokens(vocab, second, seed)}, seed)
            assert_same(again[2], fresh[2], "slot 2, filled again", STEP)

    @drawn(5, two=st.tuples(lengths(LONGEST - STEPS), lengths(LONGEST - STEPS)), seed=SEEDS)
    def test_a_trace_equals_eager(self, tt_mesh: Mesh, data: Data, two: tuple[int, int], seed: int) -> None:
        with self.small(tt_mesh, data, seed, warm_up=True) as model:
            vocab, users = model.spec.vocab_size, dict(zip((1, 4), two, strict=True))
            for slot, count in users.items():
                model.prefill(random_tokens(vocab, count, seed + slot), slot)
            tokens = {slot: (slot, count) for slot, count in users.items()}
            traced = [step(model, tokens) for _ in range(3)]
            out = model.runner.run_decode()
            eager = model.runner.graph.inputs.of_slots(read(model.mesh, out, LmHead.LOGITS)[0, 0].float())
            for slot in users:
                assert_same(eager[slot, :vocab], traced[0][slot], f"slot {slot} run op by op, not traced")
                for number, again in enumerate(traced):
                    assert_same(again[slot], traced[0][slot], f"slot {slot} in replay {number}, not the first")


def prompts_of(model: Model, counts: list[int], seed: int) -> Prompts:
    """One prompt for each count, in the first slots."""
    return {slot: random_tokens(model.spec.vocab_size, count, seed + slot) for slot, count in enumerate(counts)}


def run(model: Model, prompts: Prompts, seed: int) -> Prompts:
    """Prefill slots and decode them all; returns logits ``[1 + STEPS, vocab_size]`` for every slot.

    A slot's tokens depend on its prompt and the seed, never on the slot.
    """
    vocab = model.spec.vocab_size
    for slot in range(SLOTS):
        model.release(slot)
    logits = {slot: [model.prefill(prompt, slot)] for slot, prompt in prompts.items()}
    tokens = {slot: random_tokens(vocab, STEPS, seed + len(prompt)) for slot, prompt in prompts.items()}
    for i in range(STEPS):
        out = step(model, {slot: (int(tokens[slot][i]), len(prompt) + i) for slot, prompt in prompts.items()})
        for slot in prompts:
            logits[slot].append(out[slot])
    return {slot: torch.stack(rows) for slot, rows in logits.items()}


def step(model: Model, users: Mapping[int, tuple[int, int]]) -> torch.Tensor:
    """Decode one token for each of these slots: slot -> (token, position); the rest are empty."""
    tokens, positions = torch.zeros(SLOTS, dtype=torch.int32), torch.full((SLOTS,), -1, dtype=torch.int32)
    for slot, (token, position) in users.items():
        tokens[slot], positions[slot] = token, position
    return model.decode(tokens, positions)


def pages_of(model: Model, slot: int) -> torch.Tensor:
    """Return the slot's row of the page table, its blocks counted over all replicas."""
    plan = model.plan
    return model.engine.pool.row(slot) + slot // plan.slots_per_replica * plan.num_blocks


def random_padding(model: Model, prompts: Prompts, seed: int) -> Any:
    """Stand in for ``integers``: the ids after the end of a prompt are random instead of 0."""
    import ttnn

    def put(mesh: Mesh, tensor: torch.Tensor, dtype: ttnn.DataType, sharding: Sharding = WHOLE) -> ttnn.Tensor:
        for prompt in prompts.values() if dtype == ttnn.uint32 else ():
            ids, rest = tensor[0, : len(prompt)], tensor[0, len(prompt) :]
            if torch.equal(ids, prompt) and not rest.any():
                padding = random_tokens(model.spec.vocab_size, len(rest), seed).to(ids.dtype)
                tensor = torch.cat([ids, padding])[None]
        return integers(mesh, tensor, dtype, sharding)

    return put


def poison_before(model: Model, real: Callable[[DecodeBatch], torch.Tensor]) -> Callable[[DecodeBatch], torch.Tensor]:
    """Before every step: NaN in all blocks that nobody owns, 1e4 in the rows that their owner has not written yet.

    The spare block stays finite: flash decode reads it and masks what it read by an addition.
    """

    def poisoned_step(batch: DecodeBatch) -> torch.Tensor:
        size, blocks_in_all = model.plan.block_size, model.plan.num_blocks * model.mesh.replicas
        written = torch.zeros(blocks_in_all, 1, size, 1, dtype=torch.bool)
        owned = torch.zeros(blocks_in_all, 1, 1, 1, dtype=torch.bool)
        for slot in (batch.positions >= 0).nonzero().flatten().tolist():
            count = int(batch.positions[slot])
            blocks = pages_of(model, slot)[: count // size + 1].long()
            rows = torch.arange(len(blocks) * size).unflatten(0, (-1, size)) < count
            written[blocks], owned[blocks] = rows[:, None, :, None], True
        owned[SPARE :: model.plan.num_blocks] = True
        fill = torch.where(owned, POISON, float("nan"))
        for tensor, values in zip(cache_tensors(model), read_caches(model), strict=True):
            write_cache(model, tensor, torch.where(written, values, fill.to(values.dtype)))
        return real(batch)

    return poisoned_step
