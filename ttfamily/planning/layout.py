"""A model laid out on a dry mesh from its config alone, and the two phases that are recorded of it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs

from ttfamily.builder import build
from ttfamily.core.mesh.mesh import open_mesh
from ttfamily.core.weights.checkpoint import Checkpoint
from ttfamily.core.weights.weights import Weights
from ttfamily.engine.inputs import PromptChunk
from ttfamily.engine.pool import BlockPool
from ttfamily.engine.runner import Runner
from ttfamily.loading import read_spec
from ttfamily.planning.stream import Stream, record
from ttfamily.ttnn_log import quiet_ttnn

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from ttfamily.builder import Limits
    from ttfamily.core.blocks.transformer import Transformer
    from ttfamily.core.config.hf_config import HfConfig
    from ttfamily.core.config.precision_policy import PrecisionPolicy
    from ttfamily.core.layout.plan import Plan
    from ttfamily.core.mesh.boards import Board
    from ttfamily.core.mesh.mesh import Mesh
    from ttfamily.family import Family


@attrs.frozen(kw_only=True, eq=False)
class Layout:
    """A model on an open dry mesh.

    :param loaded_bytes: of DRAM on each chip, when the weights and the cache are in.
    :param weights: remembers what was taken of the checkpoint.
    """

    plan: Plan
    transformer: Transformer
    weights: Weights
    loaded_bytes: int
    # Made first of all that runs, as when a model is loaded: L1 then looks as it does there.
    runner: Runner = attrs.field(
        init=False, default=attrs.Factory(lambda self: Runner(self.transformer), takes_self=True)
    )

    @property
    def mesh(self) -> Mesh:
        """The open mesh."""
        return self.plan.mesh

    def decode(self) -> Stream:
        """Record a decode step; its ops are the same at every position."""
        return record(self.mesh, self.runner.run_decode)

    def prefill(self, tokens: int) -> Stream:
        """Record what a prompt of so many tokens runs, chunk after chunk, with the logits of its last token."""
        pool, prompt, longest = BlockPool.of(self.plan), [0] * tokens, self.plan.prefill_lengths[-1]
        pool.reserve(0, tokens)
        chunks = PromptChunk.all_of(prompt, longest, slot=0, pages=pool.row(0))
        return record(self.mesh, lambda: [self.runner.run_prefill(chunk) for chunk in chunks])


@contextmanager
def laid_out(
    config: HfConfig,
    family: Family,
    *,
    mesh: str,
    precision: PrecisionPolicy,
    limits: Limits,
    boards: Collection[Board] = (),
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Iterator[Layout]:
    """Lay a model out on a dry mesh, which is closed in the end.

    :param boards: meshes that plugins add.
    :raises TtfamilyError: if it cannot be laid out, or does not fit.
    """
    spec = read_spec(config, family)
    quiet_ttnn()
    opened = open_mesh(mesh, "dry", boards)
    try:
        transformer = build(spec, family.blocks, opened, precision, limits)
        with Checkpoint.of_config(config.raw) as checkpoint:
            weights = Weights(checkpoint, family, spec)
            transformer.load(weights, progress)
            weights.finish()
        loaded = opened.dram_bytes()[0]
        yield Layout(plan=transformer.plan, transformer=transformer, weights=weights, loaded_bytes=loaded)
    finally:
        opened.close()
