"""Families with one mistake each, and the class of the kit that is pointed at them: run by test_conformance_catches.py.

pytest does not collect this file by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import evolve
from hypothesis import strategies as st

from tests.families.test_falcon import FalconConformance
from ttfamily.core.blocks.norm import Norm
from ttfamily.plugins import falcon, llama, mistral
from ttfamily.testing import Conformance

if TYPE_CHECKING:
    from torch import Tensor

    from ttfamily import Family, HfConfig, ModelSpec

Q, K, V = llama.WEIGHTS["layer.attention.qkv"].modules
GATE, UP = llama.WEIGHTS["layer.mlp.gate_up"].modules


def with_rule(slot: str, **changes: Any) -> Family:
    return evolve(llama.LLAMA, weights={**llama.WEIGHTS, slot: evolve(llama.WEIGHTS[slot], **changes)})


class TestKeysAndValuesSwapped(Conformance):
    family = with_rule("layer.attention.qkv", modules=(Q, V, K))


class TestGateAndUpSwapped(Conformance):
    family = with_rule("layer.mlp.gate_up", modules=(UP, GATE))


def metas_layout(parts: tuple[Tensor, ...], spec: ModelSpec) -> tuple[Tensor, ...]:
    """Put rotated pairs beside one another, as in Meta's own checkpoints, where Hugging Face has halves."""

    def pairs(part: Tensor) -> Tensor:
        return part.unflatten(0, (-1, 2, spec.attention.head_dim // 2)).transpose(1, 2).reshape(part.shape)

    return pairs(parts[0]), pairs(parts[1]), parts[2]


class TestWrongRopeLayout(Conformance):
    family = with_rule("layer.attention.qkv", transform=metas_layout)


class NextLayersNorm(Norm):
    def __init__(self, plan: Any, weights: Any, slot: str, layer: int) -> None:
        super().__init__(plan, weights, slot, (layer + 1) % plan.spec.num_hidden_layers)


class TestNormOffByOneLayer(Conformance):
    family = evolve(llama.LLAMA, blocks={"layer.attention_norm": f"{__name__}:NextLayersNorm"})


def one_token_more(config: HfConfig) -> ModelSpec:
    spec = mistral.spec(config)
    window = spec.attention.sliding_window
    return evolve(spec, attention=evolve(spec.attention, sliding_window=window and window + 1))


class TestWindowOffByOne(Conformance):
    family = evolve(mistral.MISTRAL, spec=one_token_more)
    keys = {"sliding_window": st.none() | st.integers(2, 40) | st.integers(2, 600)}


def without_biases(config: HfConfig) -> ModelSpec:
    spec = llama.spec(config)
    return evolve(spec, attention=evolve(spec.attention, qkv_bias=False, out_bias=False))


class TestDroppedBias(Conformance):
    family = evolve(llama.LLAMA, spec=without_biases)


def as_if_one_after_another(fused: tuple[Tensor, ...], spec: ModelSpec) -> tuple[Tensor, ...]:
    """Take all query heads, then all keys, then all values, where Falcon-40B has groups of them."""
    heads, key_value = spec.attention.num_attention_heads, spec.attention.num_key_value_heads
    return fused[0].split([n * spec.attention.head_dim for n in (heads, key_value, key_value)])


def falcon_weights(spec: ModelSpec) -> dict[str, Any]:
    weights = falcon.weights(spec)
    qkv = evolve(weights["layer.attention.qkv"], transform=as_if_one_after_another)
    return {**weights, "layer.attention.qkv": qkv}


class TestFalconGroupedWrongly(FalconConformance):
    family = evolve(falcon.FALCON, weights=falcon_weights)
    form = {"new_decoder_architecture": True}


def always_tied(config: HfConfig) -> ModelSpec:
    return evolve(llama.spec(config), tie_word_embeddings=True)


class TestUntiedHeadIgnored(Conformance):
    family = evolve(llama.LLAMA, spec=always_tied)


def without_the_key(config: HfConfig) -> ModelSpec:
    config.take("sliding_window", None)
    return llama.spec(config)


class TestKeyReadAndForgotten(Conformance):
    family = evolve(mistral.MISTRAL, spec=without_the_key)
