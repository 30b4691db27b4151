"""What a family's blocks say of themselves is what they take: DRAM to the byte, collectives, the widest point."""

from __future__ import annotations

import gc
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import ttnn
from hypothesis import given
from hypothesis import strategies as st

from ttfamily.builder import build
from ttfamily.core.config.precision_policy import policy
from ttfamily.core.weights.checkpoint import Checkpoint
from ttfamily.core.weights.weights import Weights
from ttfamily.engine.inputs import DecodeBatch, PromptChunk
from ttfamily.engine.pool import BlockPool
from ttfamily.engine.runner import Runner
from ttfamily.planning.stream import dram_span_of
from ttfamily.testing import strategies
from ttfamily.testing.bench import limits_of, without_limit
from ttfamily.testing.conformance.subject import Subject, or_another_shape
from ttfamily.testing.models import make_model, save_checkpoint

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from ttfamily.core.config.spec import ModelSpec
    from ttfamily.core.mesh.mesh import Mesh
    from ttfamily.family import Family

LIGHT = 2**20  # weights of a layer
LONGEST, USERS = 256, 4


class StatementTests(Subject):
    """Of a whole model: budgets and plans add up what its blocks say."""

    @strategies.examples(5)
    @given(data=st.data(), seed=strategies.SEEDS, decode_first=st.booleans())
    def test_blocks_say_what_they_take(self, tt_mesh: Mesh, data: st.DataObject, seed: int, decode_first: bool) -> None:
        config = self.draw(data, layers=2, most_weights=LIGHT)
        check_statements(self.family, self.spec_of(config), config, tt_mesh, seed, decode_first=decode_first)


def check_statements(
    family: Family, spec: ModelSpec, config: PretrainedConfig, mesh: Mesh, seed: int, *, decode_first: bool
) -> None:
    """Load a model, run both phases, and compare what the mesh has lost with what the blocks say.

    :raises AssertionError: saying what they leave out.
    """
    limits = limits_of(mesh, max_batch_size=USERS, max_seq_len=LONGEST)
    spec = without_limit(spec, limits)
    with or_another_shape():
        transformer = build(spec, family.blocks, mesh, policy("accuracy"), limits)
    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(make_model(config, seed), Path(folder))
        gc.collect()  # what earlier examples held
        before = mesh.dram_bytes()[0]
        transformer.load(Weights(Checkpoint.open(folder, mesh.host_device), family, spec))
    said = sum(parameter.dram_bytes for parameter in transformer.parameters())
    taken = mesh.dram_bytes()[0] - before
    assert taken == said, f"the blocks say that they hold {said} bytes of DRAM, and hold {taken}: {WHERE}"

    runner = Runner(transformer)
    try:
        kept, widest = l1_in_use(mesh), 0
        for phase in ("decode", "prefill") if decode_first else ("prefill", "decode"):
            if phase == "decode":
                decode(runner)
            else:
                widest = dram_span_of(mesh, lambda: prefill(runner))
        later = l1_in_use(mesh) - kept
    finally:
        runner.close()
    assert later == 0, f"{later} bytes of L1 were taken for good while it ran: a collective is not declared"
    budget = sum(transformer.budget().running.values())
    assert widest <= budget, f"a prefill needs {widest} bytes of DRAM, and the blocks say {budget}: {COLUMNS}"


WHERE = "a tensor that is no Parameter, or one in an attribute where parameters() does not look"
COLUMNS = "prefill_columns of a block leaves out a tensor that is alive at its widest point"


def prefill(runner: Runner) -> None:
    """Read a prompt of the longest padded length."""
    pool = BlockPool.of(runner.plan)
    pool.reserve(0, LONGEST)
    runner.prefill(PromptChunk.of([0] * LONGEST, 0, LONGEST, slot=0, pages=pool.row(0)))


def decode(runner: Runner) -> None:
    """Decode a token of every user, twice."""
    slots, pool = runner.plan.max_batch_size, BlockPool.of(runner.plan)
    for slot in range(slots):
        pool.reserve(slot, 1)
    tokens = torch.zeros(slots, dtype=torch.int32)
    for _ in range(2):
        runner.decode(DecodeBatch(tokens=tokens, positions=tokens, page_table=pool.table))


def l1_in_use(mesh: Mesh) -> int:
    """Bytes of every core's L1 that tensors and semaphores hold."""
    gc.collect()
    used: int = ttnn.get_memory_view(mesh.device, ttnn.BufferType.L1).total_bytes_allocated_per_bank
    return used
