"""Single blocks on a mesh: their weights, and inputs that lie where the transformer would have put them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import torch
import ttnn

from ttfamily.core.blocks.decoder import LAYERS
from ttfamily.core.blocks.embedding import Embedding
from ttfamily.core.blocks.kv_cache import SKIP, SPARE
from ttfamily.core.blocks.lm_head import LmHead
from ttfamily.core.blocks.slots import Blocks
from ttfamily.core.blocks.transformer import Transformer
from ttfamily.core.config.hf_config import HfConfig
from ttfamily.core.config.precision_policy import policy
from ttfamily.core.layout.plan import Plan
from ttfamily.core.mesh.placement import Sharding, put, read
from ttfamily.core.weights.checkpoint import Checkpoint
from ttfamily.core.weights.rules import Weights
from ttfamily.discovery import families
from ttfamily.engine.inputs import DecodeBatch, DecodeInputs, PromptChunk, prefill_inputs

if TYPE_CHECKING:
    from pathlib import Path

    from ttfamily.core.blocks.rope import Rope
    from ttfamily.core.blocks.steps import DecodeStep, PrefillChunk
    from ttfamily.core.config.spec import ModelSpec
    from ttfamily.core.layout.schemes import Phase, Scheme
    from ttfamily.core.mesh.mesh import Mesh
    from ttfamily.family import Family

# B rows of a decode step, S tokens (padded), n tokens, D hidden_size, P pages a user

COLUMN_INPUT = Sharding(hidden=3)
POISON = 1e4  # what stands where a prompt is padded: finite, for masks are added


def plan_of(
    spec: ModelSpec,
    mesh: Mesh,
    *,
    max_batch_size: int = 32,
    max_seq_len: int = 1024,
    precision: str = "accuracy",
    scheme: Scheme | None = None,
    block_size: int = 32,
) -> Plan:
    """Lay a spec out, with ``max_batch_size`` users on each replica.

    The blocks have no limit of their own, so a short ``max_position_embeddings`` is lifted.
    """
    spec = attrs.evolve(spec, max_position_embeddings=max(max_seq_len, spec.max_position_embeddings))
    return Plan.of(
        spec,
        mesh,
        policy(precision),
        max_batch_size=max_batch_size * mesh.replicas,
        max_seq_len=max_seq_len,
        scheme=scheme,
        block_size=block_size,
    )


class Bench:
    """A checkpoint's blocks on a mesh, one at a time, without a model around them.

    :param folder: a checkpoint.
    :param family: whose it is; by default whichever installed family knows it.
    :param options: of :func:`plan_of`.
    """

    def __init__(self, folder: Path, mesh: Mesh, family: Family | None = None, **options: int | str) -> None:
        config = HfConfig.from_folder(folder)
        self._family = family or families().for_architecture(config.architecture)
        self._folder = folder
        self.mesh = mesh
        self._blocks = Blocks.of(self._family.spec(config), self._family.blocks)
        self.plan = plan_of(self._family.spec(config), mesh, **options)  # type: ignore[arg-type]

    # ---- blocks

    @property
    def weights(self) -> Weights:
        """The checkpoint's weights, none taken yet."""
        return Weights(Checkpoint.open(self._folder, self.mesh.host_device), self._family, self.plan.spec)

    def attention(self) -> Any:
        """The first layer's."""
        return self._blocks.attention(self.plan, self.weights, 0)

    def mlp(self) -> Any:
        """The first layer's."""
        return self._blocks.mlp(self.plan, self.weights, 0)

    def norm(self) -> Any:
        """The one before the first layer's attention."""
        return self._blocks.attention_norm(self.plan, self.weights, "layer.attention_norm", 0)

    def embedding(self) -> Embedding:
        """The table."""
        return Embedding(self.plan, self.weights)

    def lm_head(self) -> LmHead:
        """The head."""
        return LmHead(self.plan, self.weights)

    def layer(self) -> Any:
        """The first layer."""
        return LAYERS[self.plan.spec.residual](self.plan, self.weights, 0, self._blocks)

    def transformer(self) -> Transformer:
        """Every layer; checks that no tensor is left over."""
        weights = self.weights
        transformer = Transformer(self.plan, weights, self._blocks, lambda _done, _total: None)
        weights.finish()
        return transformer

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
    """``[n, D] -> [1, 1, rows, D]``: large numbers stand behind, each row with a spread, as any row has."""
    others = POISON * torch.randn(rows - len(x), x.shape[1], generator=torch.Generator().manual_seed(rows))
    return torch.cat([x, others])[None, None]


def put_prefill(plan: Plan, x: torch.Tensor, *, stream: bool) -> ttnn.Tensor:
    """``[n, D] -> [1, 1, S, D]`` in DRAM, the padding poisoned.

    :param stream: laid over the devices as the residual stream is; else as column-parallel projections read it.
    """
    padded = _poisoned(x, plan.padded_length(0, len(x)))
    sharding = plan.stream_sharding("prefill") if stream else COLUMN_INPUT
    return put(plan.mesh, padded, dtype=ttnn.bfloat16, sharding=sharding)


def put_decode(plan: Plan, x: torch.Tensor, *, stream: bool) -> ttnn.Tensor:
    """``[slots, D] -> [1, 1, B, D]``, width-sharded in L1; then poison. All replicas get the same.

    :param stream: as for :func:`put_prefill`.
    """
    padded = _poisoned(x, plan.users)
    sharding, memory = COLUMN_INPUT, plan.partial_memory
    if stream:
        sharding, memory = plan.stream_sharding("decode"), plan.residual_memory
    return ttnn.to_memory_config(put(plan.mesh, padded, dtype=ttnn.bfloat16, sharding=sharding), memory)


def put_whole(plan: Plan, x: torch.Tensor) -> ttnn.Tensor:
    """``[slots, D] -> [1, 1, B, D]``, whole on every device, as the head reads it."""
    padded = _poisoned(x, plan.users)
    return ttnn.to_memory_config(put(plan.mesh, padded, dtype=ttnn.bfloat16), plan.whole_memory)


def read_stream(plan: Plan, x: ttnn.Tensor, rows: int, phase: Phase) -> torch.Tensor:
    """``[1, 1, S, D] -> [rows, D]`` float32: the residual stream."""
    return _rows(read(plan.mesh, x, plan.stream_sharding(phase)), rows)


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
