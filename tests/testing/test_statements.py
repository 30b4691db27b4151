"""The kit finds what a block leaves out of what it says of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest
import torch
import ttnn
from transformers import LlamaConfig

from ttfamily import HfConfig
from ttfamily.blocks import Collective, GatedMlp, Parameter, Plan, Weights
from ttfamily.core.mesh.mesh import open_mesh
from ttfamily.core.mesh.placement import put
from ttfamily.plugins.llama import LLAMA
from ttfamily.testing.conformance.statements import check_statements

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ttfamily.core.mesh.mesh import Mesh

CONFIG = LlamaConfig(
    vocab_size=100, hidden_size=512, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
    max_position_embeddings=512, architectures=["LlamaForCausalLM"],
)  # fmt: skip


@pytest.fixture
def mesh() -> Iterator[Mesh]:
    opened = open_mesh("n300", "simulated")
    yield opened
    opened.close()


class HidesATensor(GatedMlp):
    def load(self, weights: Weights) -> None:
        super().load(weights)
        self.table = put(self.plan.mesh, torch.ones(1, 1, 64, 64), dtype=ttnn.bfloat16)


class HidesAParameter(GatedMlp):
    """In a set, where nobody looks."""

    def load(self, weights: Weights) -> None:
        super().load(weights)
        (hidden,) = self.hidden = {Parameter(mesh=self.plan.mesh, slot="own", shape=(1, 1, 64, 64))}
        hidden.fill(torch.ones(1, 1, 64, 64))


class HidesACollective(GatedMlp):
    """An all-gather that no attribute holds, along the axis that the chips share heads along."""

    def decode(self, x: ttnn.Tensor) -> ttnn.Tensor:
        plan: Plan = self.plan
        kept = ttnn.to_memory_config(ttnn.clone(x), ttnn.DRAM_MEMORY_CONFIG)
        gather = Collective(
            mesh=plan.mesh, kind="all_gather", phase="decode", axis=plan.mesh.spec.tensor_axis, width=kept.shape[3],
            source=ttnn.DRAM_MEMORY_CONFIG,
        )  # fmt: skip
        ttnn.deallocate(gather(kept))
        return super().decode(x)


class HidesColumns(GatedMlp):
    """Eight copies of its input stay while it runs; prefill_columns does not say so."""

    def prefill(self, x: ttnn.Tensor) -> ttnn.Tensor:
        copies = [ttnn.clone(x) for _ in range(8)]
        partial = super().prefill(x)
        for copy in copies:
            ttnn.deallocate(copy)
        return partial


@pytest.mark.parametrize(
    ("block", "said"),
    [
        (HidesATensor, r"say that they hold \d+ bytes of DRAM, and hold \d+: a tensor that is no Parameter"),
        (HidesAParameter, "an attribute where parameters.. does not look"),
        (HidesACollective, "a collective is not declared"),
        (HidesColumns, "prefill_columns of a block leaves out a tensor"),
    ],
)
@pytest.mark.parametrize("decode_first", [True, False])
def test_what_a_block_hides_is_found(mesh: Mesh, block: type[GatedMlp], said: str, decode_first: bool) -> None:
    family = attrs.evolve(LLAMA, blocks={"layer.mlp": f"{__name__}:{block.__name__}"})
    with pytest.raises(AssertionError, match=said):
        check_statements(family, LLAMA.spec(HfConfig.of(CONFIG)), CONFIG, mesh, 0, decode_first=decode_first)
