"""A family that folds its config's multipliers into weights conforms: Granite, compared by a reference of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import strategies as st

from ttfamily.core.blocks.mlp import GatedMlp
from ttfamily.plugins import llama
from ttfamily.testing import Conformance

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from ttfamily import HfConfig, ModelSpec
    from ttfamily.core.mesh.mesh import Mesh

MULTIPLIERS = ("embedding_multiplier", "residual_multiplier", "logits_scaling")


def spec(config: HfConfig) -> ModelSpec:
    """Read a ``GraniteForCausalLM`` config."""
    base = llama.spec(config)
    attention = attrs.evolve(base.attention, scale=config.take("attention_multiplier", 1.0, float))
    return attrs.evolve(base, attention=attention, own={key: config.take(key, 1.0, float) for key in MULTIPLIERS})


def embedded(tensors: tuple[Tensor, ...], spec: ModelSpec) -> tuple[Tensor, ...]:
    return (tensors[0] * spec.own["embedding_multiplier"],)


def added(tensors: tuple[Tensor, ...], spec: ModelSpec) -> tuple[Tensor, ...]:
    return (tensors[0] * spec.own["residual_multiplier"],)


def divided(tensors: tuple[Tensor, ...], spec: ModelSpec) -> tuple[Tensor, ...]:
    return (tensors[0] / spec.own["logits_scaling"],)


READ: list[float] = []


class ReadingMlp(GatedMlp):
    """The core's, which also reads a value of the family's own."""

    def __init__(self, plan: Any, *others: Any) -> None:
        super().__init__(plan, *others)
        READ.append(plan.spec.own["residual_multiplier"])


TRANSFORMS = {"embedding": embedded, "layer.attention.out": added, "layer.mlp.down": added, "lm_head": divided}
GRANITE = attrs.evolve(
    llama.LLAMA,
    name="granite",
    architectures=("GraniteForCausalLM",),
    spec=spec,
    weights={
        slot: attrs.evolve(rule, transform=TRANSFORMS.get(slot, rule.transform)) for slot, rule in llama.WEIGHTS.items()
    },
    blocks={"layer.mlp": f"{__name__}:ReadingMlp"},
)


class Granite(Conformance):
    """Powers of two, so that folding rounds nothing."""

    __test__ = False
    family = GRANITE
    keys = {
        "embedding_multiplier": st.sampled_from([4.0, 1.0]),
        "residual_multiplier": st.sampled_from([0.5, 0.25]),
        "logits_scaling": st.sampled_from([8.0, 1.0]),
        "attention_multiplier": st.sampled_from([0.125, 0.0625]),
        "num_key_value_heads": 1,
    }
    excluded = {"tie_word_embeddings": (True,)}

    @classmethod
    def reference(cls, hf: PreTrainedModel) -> PreTrainedModel:
        """Fold what the family folds."""
        config = hf.config
        hf.model.embed_tokens.weight *= config.embedding_multiplier
        hf.lm_head.weight /= config.logits_scaling
        for layer in hf.model.layers:
            for folded in (layer.self_attn.o_proj, layer.mlp.down_proj):
                for parameter in folded.parameters():
                    parameter.mul_(config.residual_multiplier)
            layer.residual_multiplier = 1.0
        hf.model.embedding_multiplier = config.logits_scaling = 1.0
        return hf


class Unfolded(Granite):
    reference = Conformance.reference


class HalfFolded(Granite):
    @classmethod
    def reference(cls, hf: PreTrainedModel) -> PreTrainedModel:
        hf.model.embed_tokens.weight *= 4.0
        return hf


def test_every_comparison_of_blocks_is_with_the_reference(mesh: Mesh) -> None:
    READ.clear()
    kit = Granite()
    kit.test_embedding_and_head(mesh)
    kit.test_mlp(mesh)
    kit.test_attention(mesh)
    kit.test_decoder_layer(mesh)
    assert set(READ) <= {0.5, 0.25}  # a block has a value of its own
    assert READ


def test_whole_models_are_compared_with_the_model_itself(mesh: Mesh) -> None:
    Granite().test_logits_of_prefill_and_32_decode_steps(mesh)


def test_a_value_of_its_own_is_a_key_that_matters() -> None:
    Granite().test_every_config_key_that_matters_is_read_or_refused()


def test_without_a_reference_the_folded_weights_differ(mesh: Mesh) -> None:
    # Which of the two multipliers the first config has depends on which tests run beside this one.
    of_embedding, of_head = r"embedding, prefill: \d+ of \d+ elements differ, in token 0, 1", r"norm 0\.\d+ of what it"
    with pytest.raises(AssertionError, match=f"{of_embedding}|{of_head}"):
        Unfolded().test_embedding_and_head(mesh)


def test_a_reference_that_computes_something_else_is_refused(mesh: Mesh) -> None:
    with pytest.raises(AssertionError, match=r"reference\(\) returned another model: its logits have a PCC of 0\.\d+"):
        HalfFolded().test_mlp(mesh)
