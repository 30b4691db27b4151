"""Single blocks on a mesh: their weights, and inputs that lie where the transformer would have put them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import torch
import ttnn
from torch.nn import functional

from ttfamily.core.attention import Attention
from ttfamily.core.checkpoint import Checkpoint
from ttfamily.core.decoder import DecoderLayer
from ttfamily.core.embedding import Embedding
from ttfamily.core.hf_config import HfConfig
from ttfamily.core.kv_cache import SKIP, SPARE
from ttfamily.core.lm_head import LmHead
from ttfamily.core.mlp import MLPS, GatedMlp, PlainMlp
from ttfamily.core.norm import Norm
from ttfamily.core.placement import integers, put, read_cut, read_replicated
from ttfamily.core.plan import BLOCK_SIZE, Plan
from ttfamily.core.precision import policy
from ttfamily.core.steps import DecodeStep, PrefillChunk
from ttfamily.core.transformer import Transformer
from ttfamily.core.weights import Weights
from ttfamily.registry import families
from ttfamily.testing.pcc import assert_pcc

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ttfamily.core.kv_cache import LayerCache
    from ttfamily.core.mesh import Mesh
    from ttfamily.core.rope import Rope
    from ttfamily.core.spec import ModelSpec

# B rows of a decode step, S tokens (padded), n tokens, D hidden_size, P pages a user

BLOCK_PCC = 0.999
POISON = 1e4  # what stands where a prompt is padded: finite, for masks are added


def plan_of(
    spec: ModelSpec, mesh: Mesh, *, max_batch_size: int = 32, max_seq_len: int = 1024, precision: str = "accuracy"
) -> Plan:
    """Lay a spec out; the blocks have no limit of their own, so a short ``max_position_embeddings`` is lifted."""
    spec = attrs.evolve(spec, max_position_embeddings=max(max_seq_len, spec.max_position_embeddings))
    return Plan.of(spec, mesh, policy(precision), max_batch_size=max_batch_size, max_seq_len=max_seq_len)


class Bench:
    """A checkpoint's blocks on a mesh, one at a time, without a model around them.

    :param folder: a checkpoint that some family knows.
    :param options: of :func:`plan_of`.
    """

    def __init__(self, folder: Path, mesh: Mesh, **options: int | str) -> None:
        config = HfConfig.from_folder(folder)
        self._family = families().for_architecture(config.architecture)
        self._folder = folder
        self.mesh = mesh
        self.plan = plan_of(self._family.spec(config), mesh, **options)  # type: ignore[arg-type]

    # ---- blocks

    @property
    def weights(self) -> Weights:
        """The checkpoint's weights, none taken yet."""
        return Weights(Checkpoint.open(self._folder, self.mesh.host_device), self._family, self.plan.spec)

    def attention(self) -> Attention:
        """The first layer's."""
        return Attention(self.plan, self.weights, 0)

    def mlp(self) -> GatedMlp | PlainMlp:
        """The first layer's."""
        return MLPS[self.plan.spec.mlp.kind](self.plan, self.weights, 0)

    def norm(self) -> Norm:
        """The one before the first layer's attention."""
        return Norm(self.plan, self.weights, "layer.attention_norm", 0)

    def embedding(self) -> Embedding:
        """The table."""
        return Embedding(self.plan, self.weights)

    def lm_head(self) -> LmHead:
        """The head."""
        return LmHead(self.plan, self.weights)

    def layer(self) -> DecoderLayer:
        """The first layer."""
        return DecoderLayer(self.plan, self.weights, 0)

    def transformer(self) -> Transformer:
        """Every layer; checks that no tensor is left over."""
        weights = self.weights
        transformer = Transformer(self.plan, weights, lambda _done, _total: None)
        weights.finish()
        return transformer

    # ---- what a pass needs beside the activations

    def chunk(self, rope: Rope, pages: torch.Tensor, tokens: int) -> PrefillChunk:
        """For a whole prompt of ``tokens`` tokens.

        :param pages: ``[P]`` int32, the slot's row of a page table, -1 behind its last block.
        """
        length = self.plan.padded_length(0, tokens)
        fill = functional.pad(pages, (0, length // BLOCK_SIZE), value=SKIP)[None, : length // BLOCK_SIZE]
        return PrefillChunk(
            start=0,
            length=length,
            fill_pages=integers(self.mesh, fill, ttnn.int32),
            read_pages=integers(self.mesh, fill.masked_fill(fill == SKIP, SPARE), ttnn.int32),
            rotation=rope.prefill(0, length, tokens),
        )

    def step(self, rope: Rope, table: torch.Tensor, positions: torch.Tensor) -> DecodeStep:
        """For one token in every slot.

        :param table: ``[slots, P]`` int32, -1 behind a slot's last block.
        :param positions: ``[slots]`` int32, -1 for an empty slot.
        """
        missing = self.plan.users - len(positions)
        positions = functional.pad(positions, (0, missing), value=-1)
        pages = functional.pad(table, (0, 0, 0, missing), value=SKIP)
        return DecodeStep(
            positions=integers(self.mesh, positions, ttnn.int32),
            page_table=integers(self.mesh, pages.masked_fill(pages == SKIP, SPARE), ttnn.int32),
            rotation=rope.decode(integers(self.mesh, positions.clamp(min=0)[None], ttnn.uint32)),
        )


def put_prefill(plan: Plan, x: torch.Tensor) -> ttnn.Tensor:
    """``[n, D] -> [1, 1, S, D]`` in DRAM on every device, the padding poisoned."""
    rows = plan.padded_length(0, len(x)) - len(x)
    return put(plan.mesh, functional.pad(x, (0, 0, 0, rows), value=POISON)[None, None], dtype=ttnn.bfloat16)


def put_decode(plan: Plan, x: torch.Tensor) -> ttnn.Tensor:
    """``[slots, D] -> [1, 1, B, D]`` on every device, width-sharded in L1 as the residual is; then poison."""
    width = x.shape[1]
    x = functional.pad(x, (0, 0, 0, plan.users - len(x)), value=POISON)
    residual = plan.programs.width_sharded(width, plan.programs.cores_of(width))
    return ttnn.to_memory_config(put(plan.mesh, x[None, None], dtype=ttnn.bfloat16), residual)


def read_rows(x: ttnn.Tensor, rows: int) -> torch.Tensor:
    """``[1, 1, S, D] -> [rows, D]`` float32: what every device holds."""
    return read_replicated(x)[0, 0, :rows].float()


def read_logits(x: ttnn.Tensor, rows: int, vocab_size: int) -> torch.Tensor:
    """``[1, 1, B, V] -> [rows, vocab_size]`` float32: joined over the devices, padding cut off."""
    return read_cut(x, 3)[0, 0, :rows, :vocab_size].float()


class HostCache:
    """A layer's cache, read to the host once; users' keys and values are then looked up in it."""

    def __init__(self, plan: Plan, cache: LayerCache) -> None:
        self._plan = plan
        self._keys, self._values = (read_cut(tensor, 1) for tensor in (cache.keys, cache.values))  # [blocks, ., 32, E]

    def of(self, pages: torch.Tensor, tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return one user's keys and values in Hugging Face's order.

        :param pages: ``[P]`` int32, the user's row of the page table.
        :returns: each ``[key/value heads, tokens, head_dim]`` float32.
        """
        keys, values = (self._look_up(tensor, pages, tokens) for tensor in (self._keys, self._values))
        rotary = self._plan.spec.rope.rotary_dim
        turned, rest = keys[..., :rotary], keys[..., rotary:]  # the device keeps rotated pairs as neighbours
        return torch.cat([turned[..., 0::2], turned[..., 1::2], rest], -1), values

    def _look_up(self, tensor: torch.Tensor, pages: torch.Tensor, tokens: int) -> torch.Tensor:
        spec = self._plan.spec.attention
        blocks = tensor[pages[: -(-tokens // BLOCK_SIZE)].long()]
        by_place = blocks.transpose(0, 1).flatten(1, 2)[:, :tokens, : spec.head_dim]
        # Copies of a head on several devices are alike; the last one is read.
        places = {head: place for place, head in enumerate(self._plan.heads.key_value) if head is not None}
        return by_place[[places[head] for head in range(spec.num_key_value_heads)]].float()


def activations(rows: int, width: int, seed: int) -> torch.Tensor:
    """``[rows, width]`` float32 whose values bfloat16 holds exactly."""
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)).bfloat16().float()


def compare_both_phases(
    plan: Plan, block: Any, reference: Callable[[torch.Tensor], torch.Tensor], tokens: int, seed: int
) -> None:
    """Compare a block that treats every token alone with a torch module, in prefill and in decode.

    :param tokens: of the prompt; decode runs with all users of the plan.
    :raises AssertionError: if the PCC is below what a block must reach.
    """
    users, width = plan.max_batch_size, plan.spec.hidden_size
    x = activations(tokens, width, seed)
    assert_pcc(read_rows(block.prefill(put_prefill(plan, x)), tokens), reference(x), BLOCK_PCC)
    x = activations(users, width, seed + 1)
    assert_pcc(read_rows(block.decode(put_decode(plan, x)), users), reference(x), BLOCK_PCC)
