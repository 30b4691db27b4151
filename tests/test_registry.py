"""Families come from entry points alone; a conflict is named, a broken plugin harms only itself."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ttfamily
from ttfamily.core.weights import replicated
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
from ttfamily.registry import Family, FamilyRegistry, ProvidedFamily, discover, families

if TYPE_CHECKING:
    from collections.abc import Callable

    Install = Callable[..., None]

DREAM = """
    from ttfamily.core.weights import column
    from ttfamily.hookspecs import hookimpl
    from ttfamily.registry import Family

    @hookimpl
    def ttfamily_families():
        yield Family(name="{family}", architectures=("{architecture}",), spec=print, weights={{"lm_head": column("h")}})
"""
LLAMA_ENTRY = "llama = ttfamily.plugins.llama"


def refused(kind: Any, *parts: str) -> Any:
    return pytest.raises(kind, match=".*".join(map(re.escape, parts)))


def write_distribution(folder: Path, package: str, version: str, entry: str) -> None:
    """Write what an installed package leaves in site-packages to be found by."""
    info = folder / f"{package.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[ttfamily]\n{entry}\n")


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install packages with one plugin each, for the length of a test."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(package: str, source: str, version: str = "1.0", plugin: str | None = None) -> None:
        module = f"strange_{package.replace('-', '_')}"
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(source))
        write_distribution(tmp_path, package, version, f"{plugin or package} = {module}")
        monkeypatch.delitem(sys.modules, module, raising=False)

    return make


def dream(family: str = "dream", architecture: str = "DreamForCausalLM") -> str:
    return DREAM.format(family=family, architecture=architecture)


# --- finding


def test_a_strangers_package_is_found_with_its_name_and_version(install: Install) -> None:
    install("tt-dream", dream(), version="2.5")
    registry = discover()
    (found,) = [each for each in registry.provided if each.family.name == "dream"]
    assert (found.plugin, found.package, found.version) == ("tt-dream", "tt-dream", "2.5")
    assert registry.for_architecture("DreamForCausalLM") is found.family
    assert found.family in registry.families
    assert "DreamForCausalLM" in registry.architectures
    assert not registry.broken


def test_the_built_in_llama_comes_through_the_same_door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    write_distribution(tmp_path, "ttfamily", "0.0", LLAMA_ENTRY)
    registry = discover()
    assert registry.for_architecture("LlamaForCausalLM").name == "llama"
    assert {each.package for each in registry.provided if each.family.name == "llama"} == {"ttfamily"}


def test_families_are_looked_for_once_in_a_process(install: Install) -> None:
    families.cache_clear()
    first = families()
    install("tt-dream", dream())
    assert families() is first
    families.cache_clear()
    assert "DreamForCausalLM" in families().architectures
    families.cache_clear()


def test_listing_the_families_imports_no_framework(tmp_path: Path) -> None:
    write_distribution(tmp_path, "ttfamily", "0.0", LLAMA_ENTRY)
    code = (
        "import sys; from ttfamily.registry import families; families().for_architecture('LlamaForCausalLM');"
        "print(sorted({'torch', 'ttnn', 'transformers', 'safetensors', 'numpy'} & set(sys.modules)))"
    )
    paths = [str(tmp_path), str(Path(next(iter(ttfamily.__path__))).parent)]
    ran = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {paths!r}; {code}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout.strip() == "[]", ran.stderr


# --- looking up


def test_an_unknown_architecture_lists_the_known_ones(install: Install) -> None:
    install("tt-dream", dream())
    with refused(FamilyError, "NopeForCausalLM", "DreamForCausalLM", "Install a plugin"):
        discover().for_architecture("NopeForCausalLM")


def test_without_any_plugin_the_message_says_so() -> None:
    with refused(FamilyError, "no family is installed"):
        FamilyRegistry(provided=()).for_architecture("LlamaForCausalLM")


def test_an_unknown_architecture_mentions_the_plugins_that_could_not_be_loaded(install: Install) -> None:
    install("tt-broken", "import a_module_that_nobody_has")
    with refused(FamilyError, "tt-broken", "ModuleNotFoundError", "a_module_that_nobody_has"):
        discover().for_architecture("NopeForCausalLM")


def test_two_plugins_for_one_architecture_are_a_conflict_that_names_both_packages(install: Install) -> None:
    install("tt-dream", dream(), version="1.0")
    install("tt-nightmare", dream("nightmare"), version="6.6")
    with refused(FamilyConflict, "DreamForCausalLM", "tt-dream", "1.0", "tt-nightmare", "6.6", "family="):
        discover().for_architecture("DreamForCausalLM")


def test_a_conflict_is_decided_by_the_familys_name(install: Install) -> None:
    install("tt-dream", dream())
    install("tt-nightmare", dream("nightmare"))
    registry = discover()
    assert registry.for_architecture("DreamForCausalLM", family="nightmare").name == "nightmare"
    assert registry.for_architecture("DreamForCausalLM", family="tt-dream:dream").name == "dream"


def test_a_conflict_of_equal_names_is_decided_by_what_its_message_offers(install: Install) -> None:
    install("tt-dream", dream())
    install("tt-nightmare", dream())
    registry = discover()
    with pytest.raises(FamilyConflict) as caught:
        registry.for_architecture("DreamForCausalLM", family="dream")
    offers = re.findall(r"family='([^']+)'", caught.value.fix)
    assert len(offers) == 2
    chosen = {id(registry.for_architecture("DreamForCausalLM", family=offer)) for offer in offers}
    assert len(chosen) == 2


def test_a_conflict_about_one_architecture_leaves_the_others_alone(install: Install) -> None:
    install("tt-dream", dream())
    install("tt-nightmare", dream("nightmare"))
    install("tt-sleep", dream("sleep", "SleepForCausalLM"))
    assert discover().for_architecture("SleepForCausalLM").name == "sleep"


def test_a_family_that_does_not_know_the_architecture_is_not_used_for_it(install: Install) -> None:
    install("tt-dream", dream())
    with refused(FamilyError, "SleepForCausalLM", "family='dream'", "tt-dream:dream (DreamForCausalLM)"):
        discover().for_architecture("SleepForCausalLM", family="dream")


# --- broken plugins


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import a_module_that_nobody_has", "a_module_that_nobody_has"),
        ("def f(:", "SyntaxError"),
        ("raise RuntimeError('no card')", "RuntimeError: no card"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("x = 1", "the hooks (none)"),
        ("def ttfamily_families(): return ()", "the hooks (none)"),
        (
            "from ttfamily.hookspecs import hookimpl\n@hookimpl\ndef ttfamily_familys(): return ()",
            "the hooks ttfamily_familys",
        ),
        ("from ttfamily.hookspecs import hookimpl\n@hookimpl\ndef ttfamily_families(config): return ()", "config"),
        ("from ttfamily.hookspecs import hookimpl\n@hookimpl\ndef ttfamily_families(): 1 / 0", "ZeroDivisionError"),
        ("from ttfamily.hookspecs import hookimpl\n@hookimpl\ndef ttfamily_families(): return ()", "no family"),
        ("from ttfamily.hookspecs import hookimpl\n@hookimpl\ndef ttfamily_families(): pass", "no family"),
        ("from ttfamily.hookspecs import hookimpl\n@hookimpl\ndef ttfamily_families(): return ['llama']", "'llama'"),
        ("from ttfamily.hookspecs import hookimpl\n@hookimpl\ndef ttfamily_families(): return 7", "TypeError"),
        (dream(architecture=""), "Family 'dream', architectures"),
    ],
)
def test_a_broken_plugin_is_kept_with_its_reason_and_the_others_are_there(
    install: Install, source: str, reason: str
) -> None:
    install("tt-a-good-one", dream("first", "FirstForCausalLM"))
    install("tt-broken", source, version="0.3", plugin="broken")
    install("tt-good-too", dream("last", "LastForCausalLM"))
    registry = discover()
    (broken,) = registry.broken
    assert (broken.name, broken.package, broken.version) == ("broken", "tt-broken", "0.3")
    assert reason in broken.traceback
    assert "Traceback" in broken.traceback
    assert str(broken).startswith("broken (tt-broken 0.3): ")
    assert registry.for_architecture("FirstForCausalLM").name == "first"
    assert registry.for_architecture("LastForCausalLM").name == "last"


def test_a_plugin_whose_module_is_gone_is_broken_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    write_distribution(tmp_path, "tt-gone", "1.0", "gone = strange_gone")
    (broken,) = discover().broken
    assert "strange_gone" in broken.traceback


# --- what a family may be


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


def test_a_qualified_name_tells_two_packages_apart() -> None:
    family = Family(name="a", architectures=("A",), spec=print, weights={"norm": replicated("model.norm")})
    names = {ProvidedFamily(family=family, plugin="p", package=p, version="1").qualified_name for p in ("one", "two")}
    assert names == {"one:a", "two:a"}


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
