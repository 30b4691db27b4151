"""What a block says of itself is all that budget and plan know of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pytest
import ttnn
from transformers import FalconConfig, LlamaConfig

from ttfamily import HfConfig
from ttfamily.blocks import Block, Collective, CollectivePair, GatedMlp, Parameter
from ttfamily.builder import Limits, build
from ttfamily.core.blocks.decoder import LAYERS, ParallelLayer
from ttfamily.core.config.precision_policy import policy
from ttfamily.core.layout.sizes import tiled
from ttfamily.core.mesh.mesh import open_mesh
from ttfamily.errors import LayoutError
from ttfamily.planning.layout import laid_out
from ttfamily.plugins.falcon import FALCON
from ttfamily.plugins.llama import LLAMA

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ttfamily import Family
    from ttfamily.core.blocks.steps import DecodeStep, PrefillChunk
    from ttfamily.core.blocks.transformer import Transformer
    from ttfamily.core.layout.plan import Plan
    from ttfamily.core.mesh.mesh import Mesh

WIDE: dict[str, Any] = {
    "vocab_size": 1000, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 1,
    "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 4096,
}  # fmt: skip
# With a hidden size of a prime number of tiles: the stream lies on one core.
ON_ONE_CORE: dict[str, Any] = {"head_dim": 32, "num_attention_heads": 8, "intermediate_size": 3104}
LIMITS = Limits(max_batch_size=4)


class KeepsItsInput(GatedMlp):
    """The MLP with one more tensor alive from its beginning to its end: what it was given."""

    def __init__(self, plan: Plan, layer: int, live_tiles: int) -> None:
        super().__init__(plan, layer, live_tiles + plan.programs.shard_tiles(plan.partial_width))

    def decode(self, x: ttnn.Tensor) -> ttnn.Tensor:
        kept = ttnn.clone(x)
        partial = super().decode(x)
        ttnn.deallocate(kept)
        return partial

    def prefill(self, x: ttnn.Tensor) -> ttnn.Tensor:
        kept = ttnn.clone(x)
        partial = super().prefill(x)
        ttnn.deallocate(kept)
        return partial

    @property
    def prefill_columns(self) -> int:
        return super().prefill_columns + self.plan.partial_width


class AttentionFirst(ParallelLayer):
    """The parallel layer with its blocks the other way round."""

    def decode(self, x: ttnn.Tensor, step: DecodeStep) -> ttnn.Tensor:
        raise NotImplementedError  # only prefill is looked at

    def prefill(self, x: ttnn.Tensor, chunk: PrefillChunk) -> ttnn.Tensor:
        attended = self.attention.prefill(self.attention_norm.prefill(x), chunk)
        fed = self.mlp.prefill(self.mlp_norm.prefill(x))
        partial = ttnn.add(attended, fed)
        ttnn.deallocate(attended), ttnn.deallocate(fed)
        total = ttnn.add(x, self.in_prefill.after_row(partial))
        ttnn.deallocate(x)
        return total

    @property
    def prefill_columns(self) -> int:
        attended = self.plan.partial_width
        blocks = max(self.attention.prefill_columns, self.mlp.prefill_columns + attended)
        return self.plan.prefill.width + max(blocks, self._joined)


KEEPING = attrs.evolve(LLAMA, blocks={"layer.mlp": f"{__name__}:KeepsItsInput"})


@pytest.fixture
def mesh() -> Iterator[Mesh]:
    opened = open_mesh("n150", "dry")
    yield opened
    opened.close()


def built(family: Family, mesh: Mesh, config: Any, precision: str = "performance") -> Transformer:
    return build(family.spec(HfConfig.of(config)), family.blocks, mesh, policy(precision), LIMITS)


def test_a_tensor_more_in_a_block_is_in_the_budget(mesh: Mesh) -> None:
    plain, keeping = (built(family, mesh, LlamaConfig(**WIDE)) for family in (LLAMA, KEEPING))
    rows, banks = plain.plan.prefill_lengths[-1], mesh.dram_banks
    before, after = (each.budget().running["activations"] for each in (plain, keeping))
    columns = plain.layers[0].prefill_columns
    assert after - before == tiled(rows, columns + 4096, banks) - tiled(rows, columns, banks)


def test_a_tensor_more_in_a_block_shortens_the_longest_context(mesh: Mesh) -> None:
    config = LlamaConfig(**{**WIDE, "max_position_embeddings": 2**22, "num_hidden_layers": 4})
    plain, keeping = (built(family, mesh, config).plan.max_seq_len for family in (LLAMA, KEEPING))
    assert keeping < plain


def test_a_tensor_more_in_a_block_leaves_its_matmuls_less_of_l1(mesh: Mesh) -> None:
    config = LlamaConfig(**{**WIDE, **ON_ONE_CORE, "hidden_size": 32 * 163})
    plain, keeping = (built(family, mesh, config, "accuracy").layers[0].mlp for family in (LLAMA, KEEPING))
    blocks = [each.down.linear.decode_arguments["program_config"].in0_block_w for each in (plain, keeping)]
    assert blocks[1] < blocks[0]


def test_a_tensor_too_many_is_refused_with_the_blocks_name(mesh: Mesh) -> None:
    config = LlamaConfig(**{**WIDE, **ON_ONE_CORE, "hidden_size": 32 * 241})
    built(LLAMA, mesh, config, "accuracy")
    with pytest.raises(LayoutError, match=r"layer 0 mlp\.\w+: got \[32, \d+\] @ \[\d+, \d+\] in decode"):
        built(KEEPING, mesh, config, "accuracy")


def test_a_tensor_more_in_a_block_is_in_the_plan() -> None:
    spans = []
    for family in (LLAMA, KEEPING):
        config = HfConfig.of(LlamaConfig(**WIDE, architectures=["LlamaForCausalLM"]))
        with laid_out(config, family, mesh="n150", precision=policy("performance"), limits=LIMITS) as layout:
            spans.append(layout.prefill(2048).dram_span)
    assert spans[1] - spans[0] >= 2048 * 4096 * 2


def test_a_layers_other_order_is_in_the_budget(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    config = FalconConfig(
        vocab_size=1000, hidden_size=4096, num_hidden_layers=1, num_attention_heads=64, num_kv_heads=8,
        new_decoder_architecture=True, max_position_embeddings=4096,
    )  # fmt: skip
    usual = built(FALCON, mesh, config).budget().running["activations"]
    monkeypatch.setitem(LAYERS, "parallel", AttentionFirst)
    assert built(FALCON, mesh, config).budget().running["activations"] > usual


# ---- what is declared is found


class Leaf(Block):
    def __init__(self, mesh: Mesh, slot: str) -> None:
        self.weight = Parameter(mesh=mesh, slot=slot, shape=(1, 1, 32, 64))


class Tree(Block):
    """Parts alone, in a list, a tuple and a dict, one of them twice, and what is no part."""

    def __init__(self, plan: Plan) -> None:
        shared = Leaf(plan.mesh, "shared")
        self.alone, self.again = shared, shared
        self.listed = [Leaf(plan.mesh, "listed"), "text"]
        self.tupled = (Leaf(plan.mesh, "tupled"),)
        self.by_name = {"one": Leaf(plan.mesh, "named"), "bias": Parameter(mesh=plan.mesh, slot="bias", shape=(32, 32))}
        self.sum = CollectivePair(plan, "all_reduce", 1, 64)
        self.number = 3


def test_every_part_that_a_block_declares_is_found_once(mesh: Mesh) -> None:
    plan = built(LLAMA, mesh, LlamaConfig(**WIDE)).plan
    tree = Tree(plan)
    assert [each.slot for each in tree.parameters()] == ["shared", "listed", "tupled", "named", "bias"]
    assert [each.phase for each in tree.collectives()] == ["decode", "prefill"]
    assert all(isinstance(each, Collective) for each in tree.collectives())


def test_a_pair_of_collectives_puts_another_width_on_the_cores_that_it_allows() -> None:
    opened = open_mesh("n300", "dry")
    try:
        plan = built(LLAMA, opened, LlamaConfig(**WIDE)).plan
        spread_out = plan.programs.spread_out
        for kind, width in (("all_gather", 2 * 96), ("reduce_scatter", 64 // 2), ("all_reduce", 96)):
            pair = CollectivePair(plan, kind, 1, 96 if kind != "reduce_scatter" else 64)
            x = ttnn.zeros(
                [1, 1, 32, pair.decode.width], dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=opened.device
            )
            out = pair.decode(ttnn.to_memory_config(x, pair.decode.source))
            assert out.shape[3] == pair.decode.width_out == width
            assert out.memory_config() == spread_out(width)
    finally:
        opened.close()
