"""Single blocks on a mesh: their weights, and inputs that lie where the transformer would have put them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import torch
import ttnn

from ttfamily.builder import Limits, build
from ttfamily.core.blocks.kv_cache import SKIP, SPARE
from ttfamily.core.blocks.lm_head import LmHead
from ttfamily.core.blocks.slots import Declares
from ttfamily.core.config.hf_config import HfConfig
from ttfamily.core.config.precision_policy import policy
from ttfamily.core.layout.plan import Plan
from ttfamily.core.mesh.placement import Sharding, put, read
from ttfamily.core.weights.checkpoint import Checkpoint
from ttfamily.core.weights.weights import Weights
from ttfamily.discovery import families
from ttfamily.engine.inputs import DecodeBatch, DecodeInputs, PromptChunk, prefill_inputs

if TYPE_CHECKING:
    from pathlib import Path

    from ttfamily.core.blocks.embedding import Embedding
    from ttfamily.core.blocks.rope import Rope
    from ttfamily.core.blocks.steps import DecodeStep, PrefillChunk
    from ttfamily.core.blocks.transformer import Transformer
    from ttfamily.core.config.spec import ModelSpec
    from ttfamily.core.layout.schemes import Phase, Scheme
    from ttfamily.core.mesh.mesh import Mesh
    from ttfamily.family import Family

B = TypeVar("B", bound=Declares)

# B rows of a decode step, S tokens (padded), n tokens, D hidden_size, P pages a user

COLUMN_INPUT = Sharding(hidden=3)
POISON = 1e4  # what stands where a prompt is padded: finite, for masks are added


def limits_of(
    mesh: Mesh,
    *,
    max_batch_size: int = 32,
    max_seq_len: int = 1024,
    scheme: Scheme | None = None,
    block_size: int = 32,
) -> Limits:
    """:param max_batch_size: users of each replica."""
    users = max_batch_size * mesh.replicas
    return Limits(max_batch_size=users, max_seq_len=max_seq_len, scheme=scheme, block_size=block_size)


def without_limit(spec: ModelSpec, limits: Limits) -> ModelSpec:
    """Lift a short ``max_position_embeddings``, since blocks have no limit of their own."""
    longest = max(limits.max_seq_len or 0, spec.max_position_embeddings)
    return attrs.evolve(spec, max_position_embeddings=longest)


def plan_of(spec: ModelSpec, mesh: Mesh, *, precision: str = "accuracy", **options: Any) -> Plan:
    """Lay a spec out, for single blocks: whether a whole model of it fits is not asked.

    :param options: of :func:`limits_of`.
    """
    limits = limits_of(mesh, **options)
    plan = Plan.of(
        without_limit(spec, limits),
        mesh,
        policy(precision),
        max_batch_size=limits.max_batch_size,
        scheme=limits.scheme,
        block_size=limits.block_size,
    )
    return attrs.evolve(plan, max_seq_len=limits.max_seq_len or plan.max_seq_len)


class Bench:
    """A checkpoint's blocks on a mesh, one at a time, without a model around them.

    :param folder: a checkpoint.
    :param family: whose it is; by default whichever installed family knows it.
    :param options: of :func:`plan_of`.
    """

    def __init__(
        self, folder: Path, mesh: Mesh, family: Family | None = None, *, precision: str = "accuracy", **options: Any
    ) -> None:
        config = HfConfig.from_folder(folder)
        self._family = family or families().for_architecture(config.architecture)
        self._folder = folder
        self.mesh = mesh
        limits = limits_of(mesh, **options)
        spec = without_limit(self._family.spec(config), limits)
        self._model = build(spec, self._family.blocks, mesh, policy(precision), limits)
        self.plan = self._model.plan

    # ---- blocks

    @property
    def weights(self) -> Weights:
        """The checkpoint's weights, none taken yet."""
        return Weights(Checkpoint.open(self._folder, self.mesh.host_device), self._family, self.plan.spec)

    def attention(self) -> Any:
        """The first layer's."""
        return self._loaded(self._model.layers[0].attention)

    def mlp(self) -> Any:
        """The first layer's."""
        return self._loaded(self._model.layers[0].mlp)

    def norm(self) -> Any:
        """The one before the first layer's attention."""
        return self._loaded(self._model.layers[0].attention_norm)

    def embedding(self) -> Embedding:
        """The table."""
        return self._loaded(self._model.embedding)

    def lm_head(self) -> LmHead:
        """The head."""
        return self._loaded(self._model.lm_head)

    def layer(self) -> Any:
        """The first layer."""
        return self._loaded(self._model.layers[0])

    def rope(self) -> Rope:
        """The tables of rotations."""
        return self._loaded(self._model.rope)

    def transformer(self) -> Transformer:
        """Every layer; checks that no tensor is left over."""
        weights = self.weights
        self._model.load(weights)
        weights.finish()
        return self._model

    def _loaded(self, block: B) -> B:
        block.load(self.weights)
        return block

    # ---- what a pass needs beside the activations

    def chunk(self, rope: Rope, pages: torch.Tensor, tokens: int) -> PrefillChunk:
        """For a whole prompt of ``tokens`` tokens.

        :param pages: ``[P]`` int32, the slot's row of a page table.
        """
        prompt = PromptChunk.of([0] * tokens, 0, tokens, slot=0, pages=pages)
        return prefill_inputs(self.plan, rope, prompt)[1]

    def step(self, rope: Rope, table: torch.Tensor, positions: torch.Tensor) -> DecodeStep:
        """For one token in every slot, on all replicas alike.

        :param table: ``[slots, P]`` int32, -1 after a slot's last block.
        :param positions: ``[slots]`` int32, -1 for an empty slot.
        """
        replicas, inputs = self.mesh.replicas, DecodeInputs(self.plan)
        positions, pages = positions.repeat(replicas), table.masked_fill(table == SKIP, SPARE).repeat(replicas, 1)
        inputs.write(DecodeBatch(tokens=torch.zeros_like(positions), positions=positions, page_table=pages))
        return inputs.step(rope)


def _poisoned(x: torch.Tensor, rows: int) -> torch.Tensor:
    """``[n, D] -> [1, 1, rows, D]``: large numbers stand after them, each row with a spread, as any row has."""
    others = POISON * torch.randn(rows - len(x), x.shape[1], generator=torch.Generator().manual_seed(rows))
    return torch.cat([x, others])[None, None]


def put_prefill(plan: Plan, x: torch.Tensor, *, stream: bool) -> ttnn.Tensor:
    """``[n, D] -> [1, 1, S, D]`` in DRAM, the padding poisoned.

    :param stream: laid over the devices as the residual stream is; else as column-parallel projections read it.
    """
    padded = _poisoned(x, plan.padded_length(0, len(x)))
    sharding = plan.prefill.sharding if stream else COLUMN_INPUT
    return put(plan.mesh, padded, dtype=ttnn.bfloat16, sharding=sharding)


def put_decode(plan: Plan, x: torch.Tensor, *, stream: bool) -> ttnn.Tensor:
    """``[slots, D] -> [1, 1, B, D]``, width-sharded in L1; then poison. All replicas get the same.

    :param stream: as for :func:`put_prefill`.
    """
    padded = _poisoned(x, plan.users)
    sharding, memory = COLUMN_INPUT, plan.decode.partial
    if stream:
        sharding, memory = plan.decode.sharding, plan.decode.memory
    return ttnn.to_memory_config(put(plan.mesh, padded, dtype=ttnn.bfloat16, sharding=sharding), memory)


def put_whole(plan: Plan, x: torch.Tensor) -> ttnn.Tensor:
    """``[slots, D] -> [1, 1, B, D]``, whole on every device, as the head reads it."""
    padded = _poisoned(x, plan.users)
    return ttnn.to_memory_config(put(plan.mesh, padded, dtype=ttnn.bfloat16), plan.decode.whole)


def read_stream(plan: Plan, x: ttnn.Tensor, rows: int, phase: Phase) -> torch.Tensor:
    """``[1, 1, S, D] -> [rows, D]`` float32: the residual stream."""
    return _rows(read(plan.mesh, x, plan.stream(phase).sharding), rows)


def read_sum(plan: Plan, x: ttnn.Tensor, rows: int, _phase: Phase) -> torch.Tensor:
    """``[1, 1, S, D] -> [rows, D]`` float32: the sum of the partial sums of a row-parallel projection."""
    parts = read(plan.mesh, x, attrs.evolve(COLUMN_INPUT, tensor=0)).float()  # [devices, 1, S, D]
    return _rows(parts.sum(0, keepdim=True), rows)


def read_logits(plan: Plan, x: ttnn.Tensor, rows: int) -> torch.Tensor:
    """``[1, 1, B, V] -> [rows, vocab_size]`` float32: joined over the devices, padding cut off."""
    return _rows(read(plan.mesh, x, attrs.evolve(LmHead.LOGITS, data=None)), rows)[:, : plan.spec.vocab_size]


def _rows(x: torch.Tensor, rows: int) -> torch.Tensor:
    values: torch.Tensor = x[0, 0, :rows].float()
    return values


def activations(rows: int, width: int, seed: int) -> torch.Tensor:
    """``[rows, width]`` float32 whose values bfloat16 holds exactly."""
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)).bfloat16().float()
