"""Values of a family's own in a spec: read-only, part of equality, plain."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from ttfamily import ConfigError, HfConfig, ModelSpec, PluginError
from ttfamily.plugins import llama

CONFIG = {
    "hidden_size": 64, "num_attention_heads": 2, "max_position_embeddings": 128, "vocab_size": 99, "rms_norm_eps": 1e-5,
    "num_hidden_layers": 1, "intermediate_size": 96,
}  # fmt: skip


def spec(**own: Any) -> ModelSpec:
    return attrs.evolve(llama.spec(HfConfig.of(CONFIG)), own=own)


def test_it_is_empty_unless_a_family_fills_it() -> None:
    assert dict(llama.spec(HfConfig.of(CONFIG)).own) == {}


def test_it_is_part_of_equality_and_stays_through_evolve() -> None:
    one = spec(multiplier=4.0, kinds=("a", None))
    assert one == spec(kinds=("a", None), multiplier=4.0)
    assert hash(one) == hash(spec(kinds=("a", None), multiplier=4.0))
    assert one != spec(multiplier=2.0, kinds=("a", None))
    assert attrs.evolve(one, vocab_size=100).own == {"multiplier": 4.0, "kinds": ("a", None)}
    assert "own={'multiplier': 4.0, 'kinds': ('a', None)}" in repr(one)


def test_it_cannot_change() -> None:
    given = {"multiplier": 4.0}
    one = spec(**given)
    with pytest.raises(TypeError):
        one.own["multiplier"] = 2.0  # type: ignore[index]
    given["multiplier"] = 2.0
    assert one.own["multiplier"] == 4.0


@pytest.mark.parametrize("value", [[1, 2], {"a": 1}, float("nan"), object(), ([1],)])
def test_a_value_that_could_change_or_equals_nothing_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match=r"ModelSpec\.own\['kinds'\]: got .*expected a bool"):
        spec(kinds=value)


def test_a_name_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(PluginError, match="no value 'multiplyer'; expected one of 'multiplier'"):
        spec(multiplier=4.0).own["multiplyer"]
    assert spec().own.get("multiplier", 1.0) == 1.0
    assert "multiplier" not in spec().own
