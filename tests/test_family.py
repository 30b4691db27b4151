"""A family is a value: what cannot be is refused by the name of its field."""

from __future__ import annotations

import re
import subprocess
import sys
from types import MappingProxyType
from typing import Any

import pytest

from ttfamily.core.weights.rules import column, replicated
from ttfamily.errors import PluginError
from ttfamily.family import Family


def refused(kind: Any, *parts: str) -> Any:
    return pytest.raises(kind, match=".*".join(map(re.escape, parts)))


def family(**fields: Any) -> Family:
    values = {"name": "a", "architectures": ("A",), "spec": print, "weights": {"norm": replicated("n")}}
    return Family(**{**values, **fields})


def test_the_public_names_that_a_plugin_needs_import_no_framework() -> None:
    specs = "AttentionSpec, MlpSpec, ModelSpec, NormSpec, RopeSpec"
    rules = "WeightRule, column, replicated, row"
    rest = "CONTRACT, ConfigError, Family, HfConfig, PluginError, fill_in, hookimpl"
    code = f"from ttfamily import {specs}, {rules}, {rest}; import sys; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = set(ran.stdout.split())
    assert "ttfamily.family" in modules
    assert not modules & {"torch", "ttnn", "transformers", "numpy"}


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("name", ""),
        ("name", "a:b"),
        ("name", None),
        ("architectures", ()),
        ("architectures", "LlamaForCausalLM"),
        ("architectures", (7,)),
        ("spec", None),
        ("weights", {}),
        ("weights", {"norm": "model.norm"}),
        ("weights", {7: replicated("model.norm")}),
        ("ignored", ["*.inv_freq"]),
    ],
)
def test_a_family_with_an_impossible_field_is_refused_by_the_fields_name(field: str, wrong: object) -> None:
    fields = {"name": "a", "architectures": ("A",), "spec": print, "weights": {"norm": replicated("model.norm")}}
    with refused(PluginError, "Family", field):
        Family(**{**fields, field: wrong})


def test_a_familys_table_cannot_be_changed_behind_its_back() -> None:
    table = {"norm": replicated("model.norm")}
    family = Family(name="a", architectures=("A",), spec=print, weights=table)
    table["lm_head"] = replicated("lm_head")
    assert set(family.weights) == {"norm"}
    with pytest.raises(TypeError):
        family.weights["norm"] = replicated("other")
    assert hash(family) == hash(Family(name="a", architectures=("A",), spec=print, weights=family.weights))


def test_pairs_make_a_table_as_a_mapping_does() -> None:
    rules = {"norm": replicated("model.norm"), "lm_head": column("lm_head")}
    assert family(weights=list(rules.items())).weights == MappingProxyType(rules)


@pytest.mark.parametrize(
    ("rows", "parts"),
    [
        ([("norm", replicated("a")), ("norm", replicated("b"))], ("the slot 'norm' twice",)),
        ([("norm", replicated("a")), ("lm_head", column("a"))], ("the module 'a' twice", "norm, lm_head")),
        ([("qkv", column("q", "k", "k"))], ("the module 'k' twice", "qkv")),
        (["norm"], ("'norm'",)),
        ([("norm",)], ("'norm'",)),
        ([("norm", replicated("a"), "more")], ("norm",)),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(rows: object, parts: tuple[str, ...]) -> None:
    with refused(PluginError, "Family 'a', weights", *parts):
        family(weights=rows)


def test_a_table_made_by_a_function_is_checked_when_it_is_made() -> None:
    twice = family(weights=lambda spec: [("norm", replicated(spec)), ("lm_head", column(spec))])
    with refused(PluginError, "weights", "the module 'x' twice"):
        twice.rules("x")
    assert family(weights=lambda spec: {"norm": replicated(spec)}).rules("x") == {"norm": replicated("x")}


@pytest.mark.parametrize(
    "blocks",
    [{"layer.mlp": "Block"}, {"layer.mlp": int}, {"layer": "a:B"}, {"layer.mlp": ":B"}, {"layer.mlp": "a:b.c"}],
)
def test_a_block_is_the_path_of_a_class_for_a_slot_of_the_layer(blocks: Any) -> None:
    with refused(PluginError, "blocks", "module:Class"):
        family(blocks=blocks)
