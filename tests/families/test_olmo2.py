"""A family whose blocks have weights and collectives of their own, out of public names only: OLMo2.

Its norms are on the blocks' outputs, and over all heads of q and of k together.
"""

from __future__ import annotations

import gc
import json
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import torch
import ttnn
from hypothesis import given
from hypothesis import strategies as st
from transformers import Olmo2Config

import ttfamily
from ttfamily import replicated
from ttfamily.blocks import (
    TILE,
    Attention,
    Block,
    CollectivePair,
    GatedMlp,
    Parameter,
    Plan,
    Sharding,
    arrange,
    interleave,
)
from ttfamily.core.layout.programs import COLLECTIVES_BYTES
from ttfamily.errors import SimulatorError
from ttfamily.planning.planner import plan_model
from ttfamily.plugins import llama
from ttfamily.testing import loaded, make_model, strategies
from ttfamily.testing.conformance.logits import MODEL_PCC, compare, expect, run
from ttfamily.testing.conformance.statements import StatementTests
from ttfamily.testing.conformance.subject import or_another_shape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ttfamily.blocks import DecodeStep, HeadPlan, PrefillChunk, Weights

# B users, S tokens, D hidden_size; H query heads, K key/value heads on one device, E head_dim (padded)

DRAM = ttnn.DRAM_MEMORY_CONFIG
LAYER = "model.layers.{layer}."


class NoNorm(Block):
    """Stands where Llama has its norms: the blocks read the residual stream itself."""

    def __init__(self, plan: Plan, slot: str, layer: int | None = None) -> None:
        self.plan, self.normed = plan, plan.decode.normed

    @property
    def prefill_columns(self) -> int:
        return self.plan.prefill.width

    def decode(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """A copy, since the block that gets it frees it."""
        return ttnn.to_memory_config(ttnn.clone(x), self.normed)

    def prefill(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """A copy."""
        return ttnn.clone(x)


class PostNorm(Block):
    """Add partial sums up over the chips, normalise, and give every chip an equal part for the layer to add up again.

    The layer adds what the chips return, so each returns its share of the normed sum: a power of two is exact.
    """

    def __init__(self, plan: Plan, slot: str, layer: int) -> None:
        self.plan = plan
        width, tensor = plan.partial_width, plan.mesh.spec.tensor_axis
        self.sum = CollectivePair(plan, "all_reduce", tensor, width)
        self.weight = Parameter(mesh=plan.mesh, slot=slot, layer=layer, shape=(1, 1, 1, width))
        self.share = 1 / plan.mesh.tensor_parallel

    def load(self, weights: Weights) -> None:
        taken = weights.take(self.weight.slot, ((self.weight.shape[3],),), self.weight.layer).weight[0]
        self.weight.fill((taken.float() * self.share).reshape(self.weight.shape))

    def decode(self, partial: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, 1, B, D] -> [1, 1, B, D]``; frees its input."""
        whole = ttnn.to_memory_config(self.sum.decode(partial), DRAM)
        return ttnn.to_memory_config(self._normed(whole), self.plan.decode.partial)

    def prefill(self, partial: ttnn.Tensor) -> ttnn.Tensor:
        """``[1, 1, S, D] -> [1, 1, S, D]`` in DRAM; frees its input."""
        return self._normed(self.sum.prefill(partial))

    def _normed(self, whole: ttnn.Tensor) -> ttnn.Tensor:
        epsilon = self.plan.spec.norm.eps
        normed = ttnn.rms_norm(whole, weight=self.weight.tensor, epsilon=epsilon, memory_config=DRAM)
        ttnn.deallocate(whole)
        return normed

    @property
    def prefill_columns(self) -> int:
        return max(self.sum.prefill.columns, 2 * self.plan.partial_width)


class ProjectionNorm(Block):
    """The rms norm of all heads of a projection, on all chips together: one tile of statistics is gathered."""

    def __init__(self, plan: Plan, slot: str, layer: int, places: tuple[int | None, ...]) -> None:
        self.plan, self.places = plan, places
        self.weight = Parameter(
            mesh=plan.mesh,
            slot=slot,
            layer=layer,
            shape=(1, 1, 1, len(places) * plan.head_dim),
            sharding=Sharding(tensor=3),
        )
        real = sum(head is not None for head in places) * plan.spec.attention.head_dim
        self.share = real / self.weight.shape[3]  # what is padding counts in the op's mean
        self.gather = CollectivePair(plan, "all_gather", plan.mesh.spec.tensor_axis, TILE, DRAM)

    def load(self, weights: Weights) -> None:
        size, rotary = self.plan.spec.attention.head_dim, self.plan.spec.rope.rotary_dim
        heads = len({head for head in self.places if head is not None})
        taken = weights.take(self.weight.slot, ((heads * size,),), self.weight.layer).weight[0]
        placed = arrange(interleave(taken, size, rotary), self.places, size, self.plan.head_dim)
        self.weight.fill((placed.float() * self.share**0.5).reshape(self.weight.shape))

    def __call__(self, x: ttnn.Tensor, gather: Callable[[ttnn.Tensor], ttnn.Tensor]) -> ttnn.Tensor:
        """``[1, 1, rows, heads * E] -> [1, 1, rows, heads * E]`` in DRAM; frees its input."""
        epsilon = self.plan.spec.norm.eps * self.share
        statistics = gather(ttnn.rms_norm_pre_all_gather(x))
        normed = ttnn.rms_norm_post_all_gather(
            x, statistics, epsilon=epsilon, weight=self.weight.tensor, memory_config=DRAM
        )
        ttnn.deallocate(x), ttnn.deallocate(statistics)
        return normed


class Olmo2Attention(Attention):
    """Llama's, with both kinds of norm."""

    def __init__(self, plan: Plan, layer: int, live_tiles: int) -> None:
        super().__init__(plan, layer, live_tiles)
        heads: HeadPlan = plan.heads
        self.q_norm = ProjectionNorm(plan, "layer.attention.q_norm", layer, heads.query)
        self.k_norm = ProjectionNorm(plan, "layer.attention.k_norm", layer, heads.key_value)
        self.post = PostNorm(plan, "layer.attention.post_norm", layer)

    def load(self, weights: Weights) -> None:
        super().load(weights)
        for part in (self.q_norm, self.k_norm, self.post):
            part.load(weights)

    def decode(self, x: ttnn.Tensor, step: DecodeStep) -> ttnn.Tensor:
        fused = ttnn.to_memory_config(self.qkv.decode(x), DRAM)
        ttnn.deallocate(x)
        fused = self._normed(fused, self.q_norm.gather.decode, self.k_norm.gather.decode)
        merged = self.flash.decode(ttnn.to_memory_config(fused, self.plan.programs.spread_out(fused.shape[3])), step)
        partial = self.out.decode(merged)
        ttnn.deallocate(merged)
        return self.post.decode(partial)

    def prefill(self, x: ttnn.Tensor, chunk: PrefillChunk) -> ttnn.Tensor:
        fused = self.qkv.prefill(x)
        ttnn.deallocate(x)
        fused = self._normed(fused, self.q_norm.gather.prefill, self.k_norm.gather.prefill)
        merged = self.flash.prefill(fused, chunk)
        partial = self.out.prefill(merged)
        ttnn.deallocate(merged)
        return self.post.prefill(partial)

    def _normed(
        self,
        fused: ttnn.Tensor,
        gather_q: Callable[[ttnn.Tensor], ttnn.Tensor],
        gather_k: Callable[[ttnn.Tensor], ttnn.Tensor],
    ) -> ttnn.Tensor:
        """``[1, 1, rows, (H + 2K) E]``: the queries' part and the keys' part normed; in DRAM; frees its input."""
        rows, width = fused.shape[2], fused.shape[3]
        query = self.plan.query_width
        key = query + (width - query) // 2
        q, k, v = (
            ttnn.slice(fused, (0, 0, 0, start), (1, 1, rows, end))
            for start, end in ((0, query), (query, key), (key, width))
        )
        ttnn.deallocate(fused)
        parts = [self.q_norm(q, gather_q), self.k_norm(k, gather_k), v]
        whole = ttnn.concat(parts, dim=3)
        for part in parts:
            ttnn.deallocate(part)
        return whole

    @property
    def prefill_columns(self) -> int:
        return max(super().prefill_columns, 3 * self.plan.fused_width, self.post.prefill_columns)


class Olmo2Mlp(GatedMlp):
    """Llama's, with a norm on its output."""

    def __init__(self, plan: Plan, layer: int, live_tiles: int) -> None:
        super().__init__(plan, layer, live_tiles)
        self.post = PostNorm(plan, "layer.mlp.post_norm", layer)

    def load(self, weights: Weights) -> None:
        super().load(weights)
        self.post.load(weights)

    def decode(self, x: ttnn.Tensor) -> ttnn.Tensor:
        return self.post.decode(super().decode(x))

    def prefill(self, x: ttnn.Tensor) -> ttnn.Tensor:
        return self.post.prefill(super().prefill(x))

    @property
    def prefill_columns(self) -> int:
        return max(super().prefill_columns, self.post.prefill_columns)


NORMS = ("layer.attention_norm", "layer.mlp_norm")
OLMO2 = attrs.evolve(
    llama.LLAMA,
    name="olmo2",
    architectures=("Olmo2ForCausalLM",),
    weights={
        **{slot: rule for slot, rule in llama.WEIGHTS.items() if slot not in NORMS},
        "layer.attention.q_norm": replicated(LAYER + "self_attn.q_norm"),
        "layer.attention.k_norm": replicated(LAYER + "self_attn.k_norm"),
        "layer.attention.post_norm": replicated(LAYER + "post_attention_layernorm"),
        "layer.mlp.post_norm": replicated(LAYER + "post_feedforward_layernorm"),
    },
    blocks={
        "layer.attention_norm": f"{__name__}:NoNorm",
        "layer.mlp_norm": f"{__name__}:NoNorm",
        "layer.attention": f"{__name__}:Olmo2Attention",
        "layer.mlp": f"{__name__}:Olmo2Mlp",
    },
)


# ---- tests


class TestOlmo2(StatementTests):
    family = OLMO2


OWN = ("layer.attention.q_norm", "layer.attention.k_norm", "layer.attention.post_norm", "layer.mlp.post_norm")
LONGEST = 512


def config_of(**sizes: Any) -> Olmo2Config:
    usual = {"vocab_size": 700, "num_hidden_layers": 2, "max_position_embeddings": LONGEST}
    return Olmo2Config(**{**usual, **sizes}, architectures=["Olmo2ForCausalLM"])


@contextmanager
def dry(config: Olmo2Config, mesh: str, users: int = 4) -> Iterator[ttfamily.Model]:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config.to_dict()))
        options: dict[str, Any] = {"mesh": mesh, "device": "dry", "family": OLMO2, "max_batch_size": users}
        with ttfamily.load(folder, **options) as model:
            yield model


def prefill(model: ttfamily.Model, tokens: int) -> None:
    with pytest.raises(SimulatorError, match="dry mesh"):  # reading the logits, at the very end
        model.prefill(torch.zeros(tokens, dtype=torch.int64), 0)


def decode(model: ttfamily.Model) -> None:
    users = model.plan.max_batch_size
    with pytest.raises(SimulatorError, match="dry mesh"):
        model.decode(torch.zeros(users, dtype=torch.int64), torch.full((users,), 3))


@pytest.mark.parametrize("mesh", ["n150", "n300", "t3k"])
@pytest.mark.parametrize("heads", [(8, 2), (28, 4)])
def test_own_blocks_compute_what_transformers_computes(mesh: str, heads: tuple[int, int]) -> None:
    query, key_value = heads
    hf = make_model(
        config_of(
            hidden_size=32 * query, intermediate_size=300, num_attention_heads=query, num_key_value_heads=key_value
        )
    )
    batch = strategies.Batch(tokens=(31, 0, 90))
    with loaded(hf, mesh, family=OLMO2, max_batch_size=3, max_seq_len=128) as model:
        compare(run(model, batch, 0, 4), expect(hf, batch, 0, 4), MODEL_PCC)


SIZES = {"hidden_size": 1024, "intermediate_size": 2816, "num_attention_heads": 16, "num_key_value_heads": 8}


@pytest.mark.parametrize("mesh", ["n300", "t3k"])
def test_the_bytes_of_own_weights_are_in_plan_and_budget_to_the_byte(mesh: str) -> None:
    config = config_of(**SIZES)
    with dry(config, mesh) as model:
        budget = model.transformer.budget()
        held = sum(parameter.dram_bytes for parameter in model.transformer.parameters())
        loaded_bytes = held + budget.context["page_table"]
        small = 3 * 12 * 32  # tokens and two kinds of positions of a step
        assert model.mesh.dram_bytes()[0] == loaded_bytes + small + budget.running["logits"]  # which the trace keeps
        own = {slot: size for slot, size in budget.weights.items() if slot in OWN}
    report = plan_model(ttfamily.HfConfig.of(config), OLMO2, name="olmo2", mesh=mesh, precision="accuracy", users=4)
    assert {cut.slot: cut.held for cut in report.cuts if cut.slot in OWN} == own
    assert sorted(own) == sorted(OWN)
    assert all(own.values())


@pytest.mark.parametrize("mesh", ["n300", "t3k"])
@pytest.mark.parametrize("order", [(decode, prefill, decode), (prefill, decode, prefill)])
def test_own_collectives_are_warmed_up_whatever_runs_first(mesh: str, order: tuple[Callable[..., None], ...]) -> None:
    with dry(config_of(**{**SIZES, "hidden_size": 4096, "num_attention_heads": 32}), mesh) as model:
        for phase in order:
            phase(model, *([LONGEST] if phase is prefill else []))
        gc.collect()
        view = ttnn.get_memory_view(model.mesh.device, ttnn.BufferType.L1)
        lowest = min(int(block["address"]) for block in view.block_table if block["allocated"] == "yes")
        assert view.total_bytes_per_bank - lowest <= COLLECTIVES_BYTES + 2048  # and the tile that swaps pairs


@st.composite
def shapes(draw: st.DrawFn) -> dict[str, Any]:
    heads = draw(st.integers(1, 32))
    return {
        "num_attention_heads": heads,
        "num_key_value_heads": draw(st.sampled_from([n for n in range(1, heads + 1) if heads % n == 0])),
        "hidden_size": heads * draw(st.sampled_from([32, 64, 96, 128])),
        "intermediate_size": draw(st.integers(33, 12000)),
        "num_hidden_layers": 1,
    }


@pytest.mark.parametrize("mesh", ["n300", "t3k"])
@strategies.examples(50)
@given(sizes=shapes(), users=st.integers(1, 32), prompt=st.integers(1, LONGEST), decode_first=st.booleans())
def test_no_shape_of_own_blocks_clashes_in_l1(
    mesh: str, sizes: dict[str, Any], users: int, prompt: int, decode_first: bool
) -> None:
    with or_another_shape(), dry(config_of(**sizes), mesh, users) as model:
        for phase in (decode, prefill, decode) if decode_first else (prefill, decode, prefill):
            phase(model, *([prompt] if phase is prefill else []))
