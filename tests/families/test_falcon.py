"""Falcon conforms in each of its forms."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from hypothesis import strategies as st
from transformers import FalconConfig

from ttfamily.plugins.falcon import FALCON
from ttfamily.testing import Conformance
from ttfamily.testing.configs import MOST_WEIGHTS, draw_value, positions, rope_types, ropes, vocabularies
from ttfamily.testing.strategies import STEP, mostly_small

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hypothesis.strategies import SearchStrategy


@st.composite
def falcon_configs(
    draw: st.DrawFn,
    form: Mapping[str, Any],
    *,
    layers: int,
    most_weights: int,
    trained: SearchStrategy[int] | None,
) -> FalconConfig:
    """Draw sizes around Falcon-7B's 71 heads of 64: up to 128 heads, which one chip has no room to merge at once."""
    heads = draw(mostly_small(1, 12, 128) | st.just(71))
    step = math.lcm(STEP, 2 * heads)
    hidden = step * draw(mostly_small(-(-64 // step), 512 // step, max(min(4096, 256 * heads) // step, -(-64 // step))))
    rope = draw(ropes(trained=64, kinds=rope_types(hidden // heads)))
    keys = {
        "ffn_hidden_size": mostly_small(33, 1024, min(18176, most_weights // (2 * hidden))),
        "vocab_size": vocabularies(),
        "max_position_embeddings": positions(rope, trained=trained),
        "bias": st.booleans(),
        "tie_word_embeddings": st.booleans(),
        "num_kv_heads": st.sampled_from([n for n in range(1, heads + 1) if heads % n == 0]),
        **form,
    }
    return FalconConfig(
        num_attention_heads=heads,
        hidden_size=hidden,
        num_hidden_layers=layers,
        rope_parameters=rope,
        **{key: draw_value(draw, value) for key, value in keys.items()},
    )


class FalconConformance(Conformance):
    family = FALCON
    form: ClassVar[Mapping[str, Any]]

    @classmethod
    def configs(
        cls, *, layers: int = 1, most_weights: int = MOST_WEIGHTS, trained: SearchStrategy[int] | None = None
    ) -> SearchStrategy[FalconConfig]:
        return falcon_configs(cls.form, layers=layers, most_weights=most_weights, trained=trained)


class TestFalcon7B(FalconConformance):
    form = {}


class TestFalcon40B(FalconConformance):
    form = {"new_decoder_architecture": True}


class TestFalcon2(FalconConformance):
    form = {"new_decoder_architecture": True, "num_ln_in_parallel_attn": 1}


class TestFalconSequential(FalconConformance):
    """The form of falcon-rw, without its ALiBi."""

    form = {"parallel_attn": False, "multi_query": False, "num_kv_heads": None}
