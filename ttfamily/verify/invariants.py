"""What must hold of a model on any device, whatever its numbers are: bit for bit where nothing else is said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ttfamily.core.blocks.lm_head import LmHead
from ttfamily.core.mesh.placement import read
from ttfamily.testing.caches import read_caches
from ttfamily.testing.correlation import pcc
from ttfamily.testing.equality import assert_same
from ttfamily.verify.subjects import tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ttfamily.model import Model

    Invariant = Callable[[Model], None]
    Prompts = Mapping[int, torch.Tensor]

STEPS = 3
LENGTHS = (5, 33, 70)  # of prompts: within a tile, over one, over two blocks of the cache
NEW_LENGTH = 200
SAME_PCC = 0.99  # of logits by a prefill and by decode steps, which round in different places
LOGITS = ("step",)  # what the rows of run() count


def slots_are_independent(model: Model) -> None:
    """A user alone gets what it gets beside others."""
    prompts = _prompts(model)
    together = run(model, prompts)
    for slot, prompt in prompts.items():
        assert_same(run(model, {slot: prompt})[slot], together[slot], f"slot {slot} alone, beside others", LOGITS)


def slots_are_alike(model: Model) -> None:
    """A permutation of the slots permutes the output."""
    prompts = _prompts(model)
    last = model.plan.max_batch_size - 1
    straight = run(model, prompts)
    mirrored = run(model, {last - slot: prompt for slot, prompt in prompts.items()})
    for slot in prompts:
        assert_same(mirrored[last - slot], straight[slot], f"user of slot {slot} in slot {last - slot}", LOGITS)


def refilled_slots_forget(model: Model) -> None:
    """A slot that held another prompt gives what a fresh one gives."""
    first, second = (tokens(model.spec.vocab_size, count, seed) for count, seed in ((40, 7), (70, 8)))
    fresh = run(model, {1: first})
    run(model, {1: second})
    assert_same(run(model, {1: first})[1], fresh[1], "slot 1, filled again", LOGITS)


def prefill_keeps_to_its_pages(model: Model) -> None:
    """A prefill writes to its own pages of the cache and to no others."""
    vocab, plan = model.spec.vocab_size, model.plan
    _release(model)
    model.prefill(tokens(vocab, 50), 1)
    before = read_caches(model)
    model.prefill(tokens(vocab, 40, 2), 0)
    owned = set(model.engine.pool.row(0)[: -(-40 // plan.block_size)].tolist())
    others = [block for block in range(plan.num_blocks * model.mesh.replicas) if block not in owned]
    for number, (values, old) in enumerate(zip(read_caches(model), before, strict=True)):
        assert_same(values[others], old[others], f"blocks of others in cache {number}", ("place among them",))


def prefill_equals_decode_steps(model: Model) -> None:
    """A prompt that is decoded token by token gives the logits that its prefill gives."""
    prompt = tokens(model.spec.vocab_size, 20)
    _release(model)
    for position in range(len(prompt)):
        stepped = step(model, {0: (int(prompt[position]), position)})[0]
    found = pcc(stepped, model.prefill(prompt, 1))
    if not found >= SAME_PCC:
        raise AssertionError(f"logits of {len(prompt)} decode steps and of a prefill: PCC {found:.5f}")


def traces_equal_eager(model: Model) -> None:
    """A replay of the decode trace gives what its ops give one by one, and gives it again after a new prompt.

    The prompt in between has a length that was not used before, so that whatever it needs comes after the capture.
    """
    prompts = _prompts(model)
    _release(model)
    for slot, prompt in prompts.items():
        model.prefill(prompt, slot)
    users = {slot: (slot, len(prompt)) for slot, prompt in prompts.items()}
    first = step(model, users)
    logits = read(model.mesh, model.runner.run_decode(), LmHead.LOGITS)[0, 0].float()
    eager = model.runner.graph.inputs.of_slots(logits)[:, : model.spec.vocab_size]
    free = next(slot for slot in range(model.plan.max_batch_size) if slot not in prompts)
    model.prefill(tokens(model.spec.vocab_size, NEW_LENGTH), free)
    again = step(model, users)
    for slot in prompts:
        assert_same(eager[slot], first[slot], f"slot {slot} op by op, not traced")
        assert_same(again[slot], first[slot], f"slot {slot} in a replay after a prompt of a new length")


INVARIANTS: tuple[Invariant, ...] = (
    traces_equal_eager,  # first, while no other prompt has been seen
    slots_are_independent,
    slots_are_alike,
    refilled_slots_forget,
    prefill_keeps_to_its_pages,
    prefill_equals_decode_steps,
)


def run(model: Model, prompts: Prompts) -> dict[int, torch.Tensor]:
    """Prefill slots and decode them all; returns logits ``[1 + STEPS, vocab_size]`` for every slot.

    A slot's tokens depend on its prompt, never on the slot.
    """
    _release(model)
    logits = {slot: [model.prefill(prompt, slot)] for slot, prompt in prompts.items()}
    new = {slot: tokens(model.spec.vocab_size, STEPS, len(prompt)) for slot, prompt in prompts.items()}
    for i in range(STEPS):
        out = step(model, {slot: (int(new[slot][i]), len(prompt) + i) for slot, prompt in prompts.items()})
        for slot in prompts:
            logits[slot].append(out[slot])
    return {slot: torch.stack(rows) for slot, rows in logits.items()}


def step(model: Model, users: Mapping[int, tuple[int, int]]) -> torch.Tensor:
    """Decode one token in each of these slots, slot -> (token, position): logits ``[slots, vocab_size]``."""
    slots = model.plan.max_batch_size
    ids, positions = torch.zeros(slots, dtype=torch.int32), torch.full((slots,), -1, dtype=torch.int32)
    for slot, (token, position) in users.items():
        ids[slot], positions[slot] = token, position
    return model.decode(ids, positions)


def _prompts(model: Model) -> dict[int, torch.Tensor]:
    vocab = model.spec.vocab_size
    return {slot: tokens(vocab, count, seed=slot) for slot, count in enumerate(LENGTHS)}


def _release(model: Model) -> None:
    for slot in range(model.plan.max_batch_size):
        model.release(slot)
