"""Configs are drawn as a family says, and as transformers takes them."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, Phi3Config, PretrainedConfig, StableLmConfig

from ttfamily.plugins.llama import LLAMA
from ttfamily.testing import Conformance, decoder_configs

MANY = settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])


class Excluding(Conformance):
    __test__ = False
    family = LLAMA
    keys = {"rms_norm_eps": st.sampled_from([1e-3, 1e-6])}
    excluded = {
        "rope_type": ("dynamic", "llama3"),
        "hidden_act": ("relu",),
        "head_dim": lambda width: width % 32 != 0,
        "rms_norm_eps": lambda eps: eps > 1e-5,
    }


@MANY
@given(Excluding.configs())
def test_what_a_family_excludes_is_never_drawn(config: LlamaConfig) -> None:
    assert config.rope_parameters["rope_type"] in ("default", "linear")
    assert config.hidden_act != "relu"
    assert config.head_dim % 32 == 0
    assert config.rms_norm_eps == 1e-6


@MANY
@given(decoder_configs(StableLmConfig, excluded={"head_dim": lambda width: width % 16 != 0}))
def test_a_head_dim_that_follows_from_other_keys_can_be_excluded(config: StableLmConfig) -> None:
    assert config.hidden_size // config.num_attention_heads % 16 == 0


def test_an_excluded_key_that_the_config_does_not_have_is_named() -> None:
    @given(decoder_configs(LlamaConfig, excluded={"rope_typ": ("linear",)}))
    def draw(_: PretrainedConfig) -> None: ...

    with pytest.raises(AssertionError, match="LlamaConfig has no key rope_typ"):
        draw()


@MANY
@given(decoder_configs(Phi3Config, excluded={"rope_type": ("linear", "dynamic", "llama3")}))
def test_token_ids_are_in_the_vocabulary(config: Phi3Config) -> None:
    assert Phi3Config().pad_token_id == 32000
    assert config.pad_token_id < config.vocab_size
    assert config.eos_token_id < config.vocab_size
    assert config.bos_token_id == 1


@MANY
@given(decoder_configs(StableLmConfig))
def test_dynamic_scaling_is_drawn_for_heads_that_have_it_only(config: StableLmConfig) -> None:
    head_dim = config.hidden_size // config.num_attention_heads
    assert config.rope_parameters["rope_type"] != "dynamic" or head_dim > 2
