"""Which family an architecture gets: one claim wins, a conflict is named, what is missing is named too."""

from __future__ import annotations

import pickle
import re
from typing import Any

import pytest

from ttfamily.core.weights.rules import replicated
from ttfamily.errors import (
    CheckpointError,
    ConfigError,
    FamilyConflict,
    FamilyError,
    MeshError,
    PlanError,
    PluginError,
    RequestError,
    SimulatorError,
    TtfamilyError,
)
from ttfamily.family import Family
from ttfamily.registry import BrokenPlugin, FamilyRegistry, Plugin, ProvidedFamily


def refused(kind: Any, *parts: str) -> Any:
    return pytest.raises(kind, match=".*".join(map(re.escape, parts)))


def plugin(package: str, version: str = "1.0", name: str = "entry") -> Plugin:
    return Plugin(name=name, package=package, version=version, module="strange")


def provided(package: str, family: str = "dream", architecture: str = "DreamForCausalLM", **of: str) -> ProvidedFamily:
    weights = {"norm": replicated("model.norm")}
    value = Family(name=family, architectures=(architecture,), spec=print, weights=weights)
    return ProvidedFamily(family=value, plugin=plugin(package, **of))


def registry(*families: ProvidedFamily, **rest: Any) -> FamilyRegistry:
    return FamilyRegistry(provided=families, **rest)


DREAM = provided("tt-dream")
NIGHTMARE = provided("tt-nightmare", "nightmare", version="6.6")
BROKEN = BrokenPlugin(plugin=plugin("tt-broken"), reason="ImportError: no card", traceback="")


# --- by architecture


def test_an_architecture_gets_the_family_that_claims_it() -> None:
    both = registry(DREAM, provided("tt-sleep", "sleep", "SleepForCausalLM"))
    assert both.for_architecture("DreamForCausalLM") is DREAM.family
    assert both.claims("DreamForCausalLM") == (DREAM,)
    assert both.architectures == ("DreamForCausalLM", "SleepForCausalLM")
    assert DREAM.family in both.families


def test_an_unknown_architecture_lists_the_known_ones() -> None:
    with refused(FamilyError, "NopeForCausalLM", "DreamForCausalLM", "Install a plugin"):
        registry(DREAM).for_architecture("NopeForCausalLM")


def test_without_any_plugin_the_message_says_so() -> None:
    with refused(FamilyError, "no family is installed"):
        registry().for_architecture("LlamaForCausalLM")


def test_an_unknown_architecture_mentions_the_plugins_that_are_broken_or_disabled() -> None:
    with refused(FamilyError, "not be loaded: entry (tt-broken 1.0): ImportError: no card", "disabled: entry (tt-off"):
        registry(DREAM, broken=(BROKEN,), disabled=(plugin("tt-off"),)).for_architecture("NopeForCausalLM")


def test_two_plugins_for_one_architecture_are_a_conflict_that_names_both_packages_and_versions() -> None:
    with refused(FamilyConflict, "DreamForCausalLM", "tt-dream", "1.0", "tt-nightmare", "6.6", "family="):
        registry(DREAM, NIGHTMARE).for_architecture("DreamForCausalLM")


def test_a_conflict_is_decided_by_the_familys_name() -> None:
    both = registry(DREAM, NIGHTMARE)
    assert both.for_architecture("DreamForCausalLM", family="nightmare") is NIGHTMARE.family
    assert both.for_architecture("DreamForCausalLM", family="tt-dream:dream") is DREAM.family


def test_a_conflict_of_equal_names_is_decided_by_what_its_message_offers() -> None:
    both = registry(DREAM, provided("tt-nightmare"))
    with pytest.raises(FamilyConflict) as caught:
        both.for_architecture("DreamForCausalLM", family="dream")
    offers = re.findall(r"family='([^']+)'", caught.value.fix)
    assert [both.for_architecture("DreamForCausalLM", family=offer) for offer in offers] == list(both.families)


def test_a_conflict_about_one_architecture_leaves_the_others_alone() -> None:
    three = registry(DREAM, NIGHTMARE, provided("tt-sleep", "sleep", "SleepForCausalLM"))
    assert three.for_architecture("SleepForCausalLM").name == "sleep"


def test_a_family_that_does_not_know_the_architecture_is_not_used_for_it() -> None:
    with refused(FamilyError, "SleepForCausalLM", "family='dream'", "tt-dream:dream (DreamForCausalLM)"):
        registry(DREAM).for_architecture("SleepForCausalLM", family="dream")


# --- by name


def test_a_family_is_found_by_its_own_name_or_with_its_package() -> None:
    both = registry(DREAM, NIGHTMARE)
    assert both.named("dream") is both.named("tt-dream:dream") is DREAM
    with refused(FamilyError, "'sleep'", "dream, nightmare"):
        both.named("sleep")
    with refused(FamilyConflict, "'dream'", "tt-dream", "tt-other"):
        registry(DREAM, provided("tt-other")).named("dream")


def test_a_qualified_name_tells_two_packages_apart() -> None:
    assert {provided(package, "a").qualified_name for package in ("one", "two")} == {"one:a", "two:a"}


@pytest.mark.parametrize("name", ["dream", "tt-dream", "TT_Dream", "tt-dream:dream", "Tt.Dream:dream"])
def test_a_plugin_answers_to_its_name_and_its_package_as_installers_spell_them(name: str) -> None:
    assert plugin("tt-dream", name="dream").answers_to(name)


@pytest.mark.parametrize("name", ["Dream", "tt", "tt-dream:", "tt-dream:sleep", "other:dream", ""])
def test_a_plugin_answers_to_nothing_else(name: str) -> None:
    assert not plugin("tt-dream", name="dream").answers_to(name)


# --- errors


@pytest.mark.parametrize(
    "kind",
    [
        CheckpointError,
        ConfigError,
        FamilyConflict,
        FamilyError,
        MeshError,
        PlanError,
        PluginError,
        RequestError,
        SimulatorError,
    ],
)
def test_every_error_says_who_got_what_expected_what_and_what_to_do(kind: Any) -> None:
    error = kind("lm_head", got="3", expected="4", fix="Add one.")
    assert isinstance(error, TtfamilyError)
    assert str(error) == "lm_head: got 3; expected 4. Add one."
    assert (error.who, error.got, error.expected, error.fix) == ("lm_head", "3", "4", "Add one.")


def test_an_error_survives_the_way_out_of_a_worker_process() -> None:
    error = pickle.loads(pickle.dumps(ConfigError("a", got="b", expected="c", fix="d")))  # noqa: S301 -- our own bytes
    assert (type(error), str(error), error.fix) == (ConfigError, "a: got b; expected c. d", "d")
