"""A family with a block of its own conforms: Arcee is Llama with a plain MLP whose activation is squared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pytest
import ttnn
from transformers import ArceeConfig

from ttfamily import ConfigError, HfConfig, PluginError, column
from ttfamily.core.blocks.mlp import PlainMlp
from ttfamily.core.blocks.slots import LayerBlocks
from ttfamily.plugins import llama
from ttfamily.testing import Conformance

if TYPE_CHECKING:
    from pathlib import Path

    from ttfamily import ModelSpec


class SquaredReluMlp(PlainMlp):
    """``down(relu(up x)^2)`` (So et al. 2021)."""

    def decode(self, x: ttnn.Tensor) -> ttnn.Tensor:
        hidden = self.up.decode(x)
        ttnn.deallocate(x)
        squared = ttnn.multiply(hidden, hidden, memory_config=hidden.memory_config())
        ttnn.deallocate(hidden)
        return self.down.decode(squared)

    def prefill(self, x: ttnn.Tensor) -> ttnn.Tensor:
        hidden = self.up.prefill(x)
        ttnn.deallocate(x)
        squared = ttnn.multiply(hidden, hidden, memory_config=ttnn.DRAM_MEMORY_CONFIG)
        ttnn.deallocate(hidden)
        return self.down.prefill(squared)


def spec(config: HfConfig) -> ModelSpec:
    """Read an ``ArceeForCausalLM`` config."""
    activation = config.take("hidden_act", "relu2", str)
    if activation != "relu2":
        raise ConfigError("hidden_act", got=activation, expected="relu2", fix="Correct config.json.")
    base = llama.spec(config.replacing(hidden_act="relu"))
    return attrs.evolve(base, mlp=attrs.evolve(base.mlp, kind="plain"))


WEIGHTS = {slot: rule for slot, rule in llama.WEIGHTS.items() if slot != "layer.mlp.gate_up"}
ARCEE = attrs.evolve(
    llama.LLAMA,
    name="arcee",
    architectures=("ArceeForCausalLM",),
    spec=spec,
    weights={**WEIGHTS, "layer.mlp.up": column("model.layers.{layer}.mlp.up_proj")},
    blocks={"layer.mlp": f"{__name__}:SquaredReluMlp"},
)


class TestArcee(Conformance):
    family = ARCEE
    keys = {"hidden_act": "relu2"}


@pytest.mark.parametrize(
    "path", ["no.such.module:Block", f"{__name__}:NoSuchBlock", f"{__name__}:spec", f"{__name__}:ConfigError"]
)
def test_a_path_that_leads_to_no_block_is_named(path: str) -> None:
    with pytest.raises(PluginError, match=f"layer.mlp: got '{path}'"):
        LayerBlocks.of(spec(HfConfig.of(ArceeConfig())), {"layer.mlp": path})


class TakesWeights(PlainMlp):
    """As contract 1 had it."""

    def __init__(self, plan: Any, weights: Any, layer: int) -> None:
        raise NotImplementedError


class TakesNothing(PlainMlp):
    def __init__(self) -> None:
        raise NotImplementedError


class OfNoKind:
    def prefill(self) -> None: ...
    def decode(self) -> None: ...


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("TakesWeights", r"built with \(plan, weights, layer\); expected .* \(plan, layer, live_tiles\)"),
        ("TakesNothing", r"built with \(\); expected"),
        ("OfNoKind", "which is no Block"),
    ],
)
def test_a_block_that_cannot_be_built_from_a_plan_is_named(name: str, said: str) -> None:
    with pytest.raises(PluginError, match=said):
        LayerBlocks.of(spec(HfConfig.of(ArceeConfig())), {"layer.mlp": f"{__name__}:{name}"})


def test_a_block_that_imports_the_core_by_path_is_told_of_the_public_names(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "old_block.py").write_text("from ttfamily.core.mlp import GatedMlp")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PluginError, match=r"Import blocks .* from ttfamily\.blocks"):
        LayerBlocks.of(spec(HfConfig.of(ArceeConfig())), {"layer.mlp": "old_block:GatedMlp"})
