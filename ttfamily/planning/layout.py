"""A model laid out on a dry mesh from its config alone, and the two phases that are recorded of it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs
import torch
import ttnn

from ttfamily.core.blocks.kv_cache import PageTable
from ttfamily.core.blocks.slots import Blocks
from ttfamily.core.blocks.steps import PrefillChunk
from ttfamily.core.blocks.transformer import Transformer
from ttfamily.core.layout.plan import Plan
from ttfamily.core.mesh.mesh import open_mesh
from ttfamily.core.mesh.placement import integers
from ttfamily.core.weights.checkpoint import Checkpoint
from ttfamily.core.weights.rules import Cut, Weight, Weights
from ttfamily.engine.graph import DecodeGraph
from ttfamily.planning.stream import Stream, record
from ttfamily.ttnn_log import quiet_ttnn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ttfamily.core.config.hf_config import HfConfig
    from ttfamily.core.config.precision_policy import PrecisionPolicy
    from ttfamily.core.config.spec import ModelSpec
    from ttfamily.core.mesh.mesh import Mesh
    from ttfamily.family import Family


@attrs.frozen(kw_only=True)
class Taken:
    """What was taken of the checkpoint for one slot, whole and unpadded.

    :param layer: None for a slot that no layer has.
    :param elements: of the weights.
    :param biases: elements of the biases.
    """

    slot: str
    layer: int | None
    cut: Cut
    elements: int
    biases: int


class CountedWeights(Weights):
    """Weights that remember what was taken."""

    def __init__(self, checkpoint: Checkpoint, family: Family, spec: ModelSpec) -> None:
        super().__init__(checkpoint, family, spec)
        self.taken: list[Taken] = []
        self._cuts: dict[str, Cut] = {slot: rule.cut for slot, rule in family.rules(spec).items()}

    def take(
        self,
        slot: str,
        shapes: tuple[tuple[int, ...], ...],
        layer: int | None = None,
        *,
        bias: bool = False,
        cut: Cut | None = None,
    ) -> Weight:
        """As :meth:`Weights.take`."""
        weight = super().take(slot, shapes, layer, bias=bias, cut=cut)
        elements, biases = (sum(part.numel() for part in parts or ()) for parts in (weight.weight, weight.bias))
        taken = Taken(slot=slot, layer=layer, cut=self._cuts[slot], elements=elements, biases=biases)
        self.taken.append(taken)
        return weight


@attrs.frozen(kw_only=True, eq=False)
class Layout:
    """A model on an open dry mesh.

    :param loaded_bytes: of DRAM on each chip, when the weights and the cache are in.
    :param weights: remembers what was taken of the checkpoint.
    """

    plan: Plan
    transformer: Transformer
    weights: CountedWeights
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
    max_batch_size: int,
    max_seq_len: int | None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Iterator[Layout]:
    """Lay a model out on a dry mesh, which is closed in the end.

    :raises TtfamilyError: if it cannot be laid out, or does not fit.
    """
    spec = family.spec(config)
    config.finish()
    quiet_ttnn()
    opened = open_mesh(mesh, "dry")
    try:
        plan = Plan.of(spec, opened, precision, max_batch_size=max_batch_size, max_seq_len=max_seq_len)
        with Checkpoint.of_config(config.raw) as checkpoint:
            weights = CountedWeights(checkpoint, family, spec)
            transformer = Transformer(plan, weights, Blocks.of(spec, family.blocks), progress)
            weights.finish()
        transformer.prepare_collectives()  # first, as when a model is loaded: L1 then looks as it does there
        yield Layout(plan=plan, transformer=transformer, weights=weights, loaded_bytes=opened.dram_bytes()[0])
    finally:
        opened.close()
