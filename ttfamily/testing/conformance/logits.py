"""Whole models, loaded as a user loads them, against Hugging Face in float32, and between meshes."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import strategies as st

from ttfamily.core.mesh.mesh import open_mesh
from ttfamily.testing import strategies
from ttfamily.testing.configs import MODEL_LENGTHS
from ttfamily.testing.conformance.chosen import drawn
from ttfamily.testing.conformance.subject import Subject
from ttfamily.testing.correlation import assert_pcc, pcc
from ttfamily.testing.models import make_model
from ttfamily.testing.reference import Sequence, bfloat16_copies

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PreTrainedModel

    from ttfamily.core.mesh.mesh import Mesh
    from ttfamily.model import Model
    from ttfamily.testing.conformance.chosen import Data
    from ttfamily.testing.strategies import Batch

MODEL_PCC, SAME_PCC = 0.99, 0.9999
STEPS = 32
LONGEST = 512
LIGHT = 2**21  # weights of a layer
# load() takes no prompt that is longer than dynamic scaling's factor times the trained length.
MODELS = {"layers": 2, "most_weights": LIGHT, "trained": st.sampled_from(MODEL_LENGTHS)}
BATCHES = strategies.batches(users=5, longest=LONGEST, different=2)


class LogitTests(Subject):
    """Prefill and teacher-forced decode of several users."""

    @drawn(10, batch=BATCHES, seed=strategies.SEEDS)
    def test_logits_of_prefill_and_32_decode_steps(self, tt_mesh: Mesh, data: Data, batch: Batch, seed: int) -> None:
        hf = make_model(self.draw(data, **MODELS), seed)
        with self.loaded(hf, tt_mesh, max_batch_size=len(batch.tokens), max_seq_len=LONGEST + STEPS) as model:
            got = run(model, batch, seed, STEPS)
        wanted = expect(hf, batch, seed, STEPS)
        compare(got, wanted, MODEL_PCC, partial(reached_in_bfloat16, hf, batch, seed, STEPS))

    @pytest.fixture(scope="class")
    @classmethod
    def two_meshes(cls, tt_mesh_names: tuple[str, ...]) -> tuple[str, ...]:
        """The meshes to compare."""
        if len(tt_mesh_names) == 1:
            pytest.skip("only one mesh was asked for: --tt-mesh n150,n300 compares two")
        return tt_mesh_names

    @drawn(5, batch=BATCHES, seed=strategies.SEEDS)
    def test_meshes_agree(
        self, two_meshes: tuple[str, ...], tt_device: str, data: Data, batch: Batch, seed: int
    ) -> None:
        hf = make_model(self.draw(data, **MODELS), seed)
        options = {"max_batch_size": len(batch.tokens), "max_seq_len": LONGEST + STEPS, "warm_up": False}
        logits = []
        for name in two_meshes:
            mesh = open_mesh(name, tt_device)
            try:
                with self.loaded(hf, mesh, **options) as model:
                    logits.append(run(model, batch, seed, 4))
            finally:
                mesh.close()
        for other in logits[1:]:
            compare(other, logits[0], SAME_PCC, partial(reached_in_bfloat16, hf, batch, seed, 4))


def run(model: Model, batch: Batch, seed: int, steps: int) -> torch.Tensor:
    """Prefill a batch and decode it; returns logits ``[1 + steps, busy slots, vocab_size]``."""
    vocab = model.spec.vocab_size
    logits = [torch.stack([model.prefill(prompt_of(batch, slot, vocab, seed), slot) for slot in batch.slots])]
    tokens, held = forced(batch, vocab, steps, seed), torch.tensor(batch.tokens)
    for step in range(steps):
        positions = torch.where(held > 0, held + step, -1)
        logits.append(model.decode(tokens[:, step], positions)[batch.slots])
    return torch.stack(logits)


def expect(hf: PreTrainedModel, batch: Batch, seed: int, steps: int) -> torch.Tensor:
    """Return what Hugging Face has for the same tokens, one user at a time."""
    vocab = hf.config.vocab_size
    tokens = forced(batch, vocab, steps, seed)
    wanted = []
    for slot in batch.slots:
        sequence = Sequence(hf)
        parts = (prompt_of(batch, slot, vocab, seed), *tokens[slot].split(1))
        wanted.append(torch.stack([sequence.logits(part) for part in parts]))
    return torch.stack(wanted, 1)


def prompt_of(batch: Batch, slot: int, vocab_size: int, seed: int) -> torch.Tensor:
    """``[n]`` token ids."""
    return strategies.random_tokens(vocab_size, batch.tokens[slot], seed + slot)


def forced(batch: Batch, vocab_size: int, steps: int, seed: int) -> torch.Tensor:
    """Return the tokens that follow, whatever the model says, ``[slots, steps]``."""
    return strategies.random_tokens(vocab_size, len(batch.tokens) * steps, seed - 1).reshape(-1, steps)


def reached_in_bfloat16(hf: PreTrainedModel, batch: Batch, seed: int, steps: int) -> list[float]:
    """Return the lowest correlation of Hugging Face in bfloat16 with itself in float32, of every step and user."""
    want = expect(hf, batch, seed, steps).flatten(0, 1)
    copies = [expect(copy, batch, seed, steps).flatten(0, 1) for copy in bfloat16_copies(hf)]
    return [min(pcc(copy[place], want[place]) for copy in copies) for place in range(len(want))]


def compare(
    got: torch.Tensor, want: torch.Tensor, at_least: float, bfloat16: Callable[[], list[float]] | None = None
) -> None:
    """Compare the logits of every user and every step on their own.

    :param bfloat16: as for :func:`~ttfamily.testing.assert_pcc`, of every step and user; called once, if at all.
    """
    __tracebackhide__ = True
    assert got.shape == want.shape
    reached = bfloat16 and cache(bfloat16)
    for place, (one, other) in enumerate(zip(got.flatten(0, 1), want.flatten(0, 1), strict=True)):
        assert_pcc(one, other, at_least, bfloat16=reached and partial(_at, reached, place))


def _at(values: Callable[[], list[float]], place: int) -> float:
    return values()[place]
