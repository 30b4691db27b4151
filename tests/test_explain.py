"""``ttfamily families explain`` says who claims an architecture, who gets it, why, and what it is made of."""

from __future__ import annotations

import io
from functools import partial
from typing import Any

import pytest
from rich.console import Console

from ttfamily.commands.explain import explain
from ttfamily.core.weights.rules import column, replicated
from ttfamily.family import Family
from ttfamily.registry import BrokenPlugin, FamilyRegistry, Plugin, ProvidedFamily

MODULE = "model.layers.{layer}.a_module_with_a_name_that_is_longer_than_any_terminal.is_wide_" + 30 * "x"


def spec(config: Any) -> Any: ...


def rules(spec: Any) -> Any: ...


def plugin(package: str, name: str) -> Plugin:
    return Plugin(name=name, package=package, version="2.5", module=f"strange_{name}")


def provided(package: str = "tt-dream", name: str = "dream", **fields: Any) -> ProvidedFamily:
    weights = {"norm": replicated("model.norm"), "layer.attention.qkv": column("q", MODULE)}
    values = {"name": name, "architectures": ("DreamForCausalLM",), "spec": spec, "weights": weights, **fields}
    return ProvidedFamily(family=Family(**values), plugin=plugin(package, name))


def said(
    *families: ProvidedFamily, architecture: str = "DreamForCausalLM", family: str | None = None, **rest: Any
) -> tuple[bool, str]:
    console = Console(file=io.StringIO(), width=80, highlight=False, markup=False)
    well = explain(FamilyRegistry(provided=families, **rest), architecture, family, console)
    return well, console.file.getvalue()  # type: ignore[attr-defined]


def lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def test_the_only_claim_wins_and_shows_where_it_comes_from() -> None:
    well, text = said(provided())
    assert well
    assert "dream tt-dream 2.5 dream strange_dream" in lines(text)
    assert "tt-dream:dream gets it: the only claim." in text
    assert f"Its spec is made by {__name__}.spec." in text
    assert "It is defined in strange_dream." in text


def test_the_winners_rules_are_shown_in_full_whatever_the_width() -> None:
    _, text = said(provided())
    assert "norm replicated model.norm" in lines(text)
    assert "layer.attention.qkv column q" in lines(text)
    assert MODULE in "".join(text.split())


def test_rules_that_depend_on_the_config_name_their_function() -> None:
    assert f"depend on the config: {__name__}.rules makes them." in said(provided(weights=rules))[1]
    assert "depend on the config: functools.partial(" in said(provided(weights=partial(rules)))[1]


def test_blocks_of_its_own_are_shown_with_their_class() -> None:
    assert "Blocks of its own: none." in said(provided())[1]
    assert "layer.mlp strange:Mixture" in lines(said(provided(blocks={"layer.mlp": "strange:Mixture"}))[1])


def test_a_conflict_has_no_winner_and_says_what_to_pass() -> None:
    well, text = said(provided(), provided("tt-night", "night"))
    assert not well
    assert "night tt-night 2.5 night strange_night" in lines(text)
    assert "Nobody gets it: 2 families claim it. Pass --family tt-dream:dream or --family tt-night:night." in text
    assert "Weight rules" not in text


@pytest.mark.parametrize("family", ["night", "tt-night:night"])
def test_a_conflict_is_decided_by_family(family: str) -> None:
    well, text = said(provided(), provided("tt-night", "night"), family=family)
    assert well
    assert "dream tt-dream 2.5 dream strange_dream" in lines(text)
    assert f"tt-night:night gets it: chosen by --family {family}." in text


def test_a_family_that_makes_no_claim_does_not_win() -> None:
    well, text = said(provided(), family="night")
    assert not well
    assert "no family named night claims it. Pass --family tt-dream:dream." in text


def test_an_unknown_architecture_suggests_the_nearest_names() -> None:
    well, text = said(provided(), architecture="DraemForCausalLM")
    assert not well
    assert text.strip() == "No family claims DraemForCausalLM. The nearest known names: DreamForCausalLM."
    assert said(architecture="[red]x")[1].strip() == "No family claims [red]x."


def test_plugins_that_might_have_claimed_it_are_named() -> None:
    broken = BrokenPlugin(plugin=plugin("tt-odd", "odd"), reason="PluginError: no TTFAMILY_CONTRACT", traceback="")
    for architecture in ("DreamForCausalLM", "Other"):
        _, text = said(provided(), architecture=architecture, broken=(broken,), disabled=(plugin("tt-off", "off"),))
        assert "could not be loaded: odd (tt-odd 2.5): PluginError: no TTFAMILY_CONTRACT" in text
        assert "it is disabled: off (tt-off 2.5)" in text
