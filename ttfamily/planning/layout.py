"""A model laid out on a dry mesh from its config alone, and the two phases that are recorded of it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs
import torch
import ttnn

from ttfamily.builder import build
from ttfamily.core.blocks.kv_cache import PageTable
from ttfamily.core.blocks.steps import PrefillChunk
from ttfamily.core.mesh.mesh import open_mesh
from ttfamily.core.mesh.placement import integers
from ttfamily.core.weights.checkpoint import Checkpoint
from ttfamily.core.weights.rules import Weights
from ttfamily.engine.graph import DecodeGraph
from ttfamily.loading import read_spec
from ttfamily.planning.stream import Stream, record
from ttfamily.progress import quiet_ttnn

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

    @property
    def mesh(self) -> Mesh:
        """The open mesh."""
        return self.plan.mesh

    def decode(self) -> Stream:
        """Record a decode step; its ops are the same at every position."""
        graph = DecodeGraph(self.transformer)
        inputs = graph.tokens, graph.positions, graph.rope_positions, graph.page_table
        return record(self.mesh, lambda: self.transformer.decode(*inputs))

    def prefill(self, tokens: int) -> Stream:
        """Record what a prompt of so many tokens runs, chunk after chunk, with the logits of its last token."""
        return record(self.mesh, lambda: self._prefill(tokens))

    def _prefill(self, tokens: int) -> ttnn.Tensor:
        plan = self.plan
        pages = PageTable(plan.max_batch_size, plan.pages, plan.num_blocks)
        pages.reserve(0, tokens)
        longest = plan.prefill_lengths[-1]
        *before, last = range(0, tokens, longest)
        for start in before:
            ttnn.deallocate(self._chunk(pages, start, longest, tokens))
        x = self._chunk(pages, last, tokens - last, tokens)
        logits = self.transformer.logits_at(x, tokens - last - 1)
        ttnn.deallocate(x)
        return logits

    def _chunk(self, pages: PageTable, start: int, part: int, prompt: int) -> ttnn.Tensor:
        mesh, length = self.mesh, self.plan.padded_length(start, part)
        chunk = PrefillChunk(
            start=start,
            length=length,
            fill_pages=integers(mesh, pages.fill_row(0, start, length), ttnn.int32),
            read_pages=integers(mesh, pages.read_row(0, start + length), ttnn.int32),
            rotation=self.transformer.rope.prefill(start, length, prompt),
        )
        return self.transformer.prefill(integers(mesh, torch.zeros(1, length, dtype=torch.int32), ttnn.uint32), chunk)


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
        transformer.prepare_collectives()  # first, as when a model is loaded: L1 then looks as it does there
        loaded = opened.dram_bytes()[0]
        yield Layout(plan=transformer.plan, transformer=transformer, weights=weights, loaded_bytes=loaded)
    finally:
        opened.close()
