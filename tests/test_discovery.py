"""Families come from entry points alone; a plugin that is broken, outdated or disabled harms only itself."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ttfamily
from ttfamily import hookspecs
from ttfamily.cli import main
from ttfamily.discovery import discover, families
from ttfamily.errors import PluginError

if TYPE_CHECKING:
    from collections.abc import Callable

    Install = Callable[..., None]

HEAD = "from ttfamily import Family, column, hookimpl, replicated\nTTFAMILY_CONTRACT = 1\n"
HOOK = HEAD + "@hookimpl\ndef ttfamily_families(): "
LLAMA_ENTRY = "llama = ttfamily.plugins.llama"


def dream(
    family: str = "dream", architecture: str = "DreamForCausalLM", weights: str = "{'lm_head': column('h')}"
) -> str:
    return f"{HOOK}yield Family(name={family!r}, architectures=({architecture!r},), spec=print, weights={weights})"


def write_distribution(folder: Path, package: str, version: str, *entries: str) -> None:
    """Write what an installed package leaves in site-packages to be found by."""
    info = folder / f"{package.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text("\n".join(["[ttfamily]", *entries, ""]))


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


# --- finding


def test_a_strangers_package_is_found_with_its_name_version_and_module(install: Install) -> None:
    install("tt-dream", dream(), version="2.5", plugin="dream")
    registry = discover()
    (found,) = [each for each in registry.provided if each.family.name == "dream"]
    plugin = found.plugin
    assert (plugin.name, plugin.package, plugin.version, plugin.module) == (
        "dream", "tt-dream", "2.5", "strange_tt_dream",
    )  # fmt: skip
    assert registry.for_architecture("DreamForCausalLM") is found.family
    assert not registry.broken


def test_an_object_in_a_module_can_be_a_plugin(install: Install, tmp_path: Path) -> None:
    methods = textwrap.indent(HOOK.replace("()", "(self)"), "    ")
    install("tt-dream", f"class Plugin:\n{methods}return ()\nhook = Plugin()")
    (entry_points,) = tmp_path.glob("*/entry_points.txt")
    entry_points.write_text("[ttfamily]\ndream = strange_tt_dream:hook\n")
    (broken,) = discover().broken
    assert "no family from ttfamily_families" in broken.reason


def test_the_built_in_llama_comes_through_the_same_door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    write_distribution(tmp_path, "ttfamily", "0.0", LLAMA_ENTRY)
    registry = discover()
    assert registry.for_architecture("LlamaForCausalLM").name == "llama"
    assert {each.plugin.package for each in registry.provided if each.family.name == "llama"} == {"ttfamily"}


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
        "import sys; from ttfamily.discovery import families; families().for_architecture('LlamaForCausalLM');"
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


@pytest.mark.parametrize(
    "arguments", [(), ("generate",), ("families",), ("families", "explain"), ("new-plugin",)], ids=" ".join
)
def test_help_imports_none_of_ten_installed_plugins(arguments: tuple[str, ...], tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / f"strange_{number}.py").write_text("raise SystemExit('imported')")
        write_distribution(tmp_path, f"tt-{number}", "1.0", f"plugin = strange_{number}")
    code = (
        f"import sys, json; sys.path.insert(0, {str(tmp_path)!r}); sys.argv = {['ttfamily', *arguments, '--help']!r}\n"
        "from ttfamily.cli import main\ntry: main()\nfinally: print(json.dumps(sorted(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = set(json.loads(ran.stdout.splitlines()[-1]))
    heavy = {"torch", "ttnn", "transformers", "numpy", "rich", "pluggy", "ttfamily.discovery", "ttfamily.registry"}
    assert not {name for name in imported if name.startswith("strange_")}
    assert not imported & heavy


# --- broken plugins


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import a_module_that_nobody_has", "a_module_that_nobody_has"),
        ("def f(:", "SyntaxError"),
        ("raise RuntimeError('no card')", "RuntimeError: no card"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        (HEAD, "the hooks (none)"),
        (HEAD + "def ttfamily_families(): return ()", "the hooks (none)"),
        (HEAD + "@hookimpl\ndef ttfamily_familys(): return ()", "the hooks ttfamily_familys"),
        (HEAD + "@hookimpl\ndef ttfamily_families(config): return ()", "config"),
        (HOOK + "1 / 0", "ZeroDivisionError"),
        (HOOK + "raise SystemExit(3)", "SystemExit: 3"),
        (HOOK + "return ()", "no family"),
        (HOOK + "pass", "no family"),
        (HOOK + "return ['llama']", "'llama'"),
        (HOOK + "return 7", "TypeError"),
        (dream(architecture=""), "Family 'dream', architectures"),
        (dream().replace("yield", "return 2 * [") + "]", "more than one family named 'dream'"),
        (dream(weights="[('norm', column('a')), ('norm', column('b'))]"), "the slot 'norm' twice"),
        (dream(weights="{'norm': column('a'), 'lm_head': column('a')}"), "the module 'a' twice (in norm, lm_head)"),
        (dream(weights="{'norm': 'model.norm'}"), "'norm': 'model.norm'"),
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
    assert (broken.plugin.name, broken.plugin.package, broken.plugin.version) == ("broken", "tt-broken", "0.3")
    assert reason in broken.traceback
    assert "Traceback" in broken.traceback
    assert str(broken).startswith("broken (tt-broken 0.3): ")
    assert registry.for_architecture("FirstForCausalLM").name == "first"
    assert registry.for_architecture("LastForCausalLM").name == "last"


def test_a_plugin_whose_module_is_gone_is_broken_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    write_distribution(tmp_path, "tt-gone", "1.0", "gone = strange_gone")
    (broken,) = discover().broken
    assert "strange_gone" in broken.reason


def test_a_package_without_metadata_is_unknown_and_harms_nobody(install: Install, tmp_path: Path) -> None:
    install("tt-half", dream())
    (tmp_path / "tt_half-1.0.dist-info" / "METADATA").unlink()
    (found,) = discover().claims("DreamForCausalLM")
    assert str(found.plugin) == "tt-half (unknown unknown)"


def test_strict_stops_at_a_broken_plugin_with_its_cause(install: Install) -> None:
    install("tt-broken", "raise RuntimeError('no card')", version="0.3", plugin="broken")
    with pytest.raises(PluginError, match=r"broken \(tt-broken 0.3\): got RuntimeError: no card") as caught:
        discover(strict=True)
    assert isinstance(caught.value.__cause__, RuntimeError)


# --- the contract


@pytest.mark.parametrize(
    ("line", "got", "fix"),
    [
        ("", "no TTFAMILY_CONTRACT", "Write TTFAMILY_CONTRACT = 2 into strange_tt_other"),
        ("TTFAMILY_CONTRACT = '1'", "TTFAMILY_CONTRACT = '1'", "Write TTFAMILY_CONTRACT = 2"),
        ("TTFAMILY_CONTRACT = True", "TTFAMILY_CONTRACT = True", "Write TTFAMILY_CONTRACT = 2"),
        ("TTFAMILY_CONTRACT = 3", "contract 3, which is newer than this ttfamily", "Update ttfamily"),
        ("TTFAMILY_CONTRACT = 0", "contract 0, which this ttfamily no longer serves", "install --upgrade tt-other"),
    ],
)
def test_a_plugin_for_another_contract_is_broken_before_its_hook_is_seen(
    install: Install, tmp_path: Path, line: str, got: str, fix: str
) -> None:
    # A hook that pluggy would refuse, and that would write a file: neither comes about.
    hook = f"@hookimpl\ndef ttfamily_families(new_argument): open({str(tmp_path / 'called')!r}, 'w')"
    install("tt-other", f"from ttfamily import hookimpl\n{line}\n{hook}")
    install("tt-dream", dream())
    registry = discover()
    (broken,) = registry.broken
    assert got in broken.reason
    assert fix in broken.reason
    assert "new_argument" not in broken.traceback
    assert not (tmp_path / "called").exists()
    assert "DreamForCausalLM" in registry.architectures


def test_an_older_contract_works_as_long_as_it_is_served(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("tt-dream", dream())
    assert hookspecs.OLDEST_CONTRACT < hookspecs.CONTRACT
    assert "DreamForCausalLM" in discover().architectures  # which is of contract 1
    monkeypatch.setattr(hookspecs, "OLDEST_CONTRACT", 2)
    assert {each.plugin.name for each in discover().broken} == {"tt-dream"}


# --- disabled plugins


@pytest.mark.parametrize("name", ["dream", "tt-dream", "TT_dream", "tt-dream:dream", "all"])
def test_a_disabled_plugin_is_never_imported(install: Install, tmp_path: Path, name: str) -> None:
    install("tt-dream", f"open({str(tmp_path / 'imported')!r}, 'w')", plugin="dream")
    registry = discover(strict=True, disabled=[name])
    assert [str(plugin) for plugin in registry.disabled] == ["dream (tt-dream 1.0)"]
    assert not (tmp_path / "imported").exists()
    assert "LlamaForCausalLM" in registry.architectures


def test_a_built_in_plugin_can_be_disabled_by_name_alone() -> None:
    assert not discover(disabled=["all"]).disabled
    registry = discover(disabled=["llama"])
    assert [plugin.name for plugin in registry.disabled] == ["llama"]
    assert "LlamaForCausalLM" not in registry.architectures


def test_a_name_that_disables_nothing_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "ttfamily"):
        registry = discover(disabled=["draem", "all"])
    assert not registry.disabled
    assert "draem" in caplog.text
    assert "llama (ttfamily" in caplog.text
    assert len(caplog.records) == 1


# --- on the command line


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    monkeypatch.setattr(logging.getLogger("ttfamily"), "handlers", [])
    monkeypatch.setattr(logging.getLogger("ttfamily"), "level", logging.NOTSET)
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments: str, disable: str = "") -> int:
        monkeypatch.setenv("TTFAMILY_DISABLE_PLUGINS", disable)
        monkeypatch.setattr(sys, "argv", ["ttfamily", *arguments])
        with pytest.raises(SystemExit) as exit_:
            main()
        return int(exit_.value.code or 0)

    return run


@pytest.mark.parametrize("disable", ["all", "dream,broken", " tt-dream  tt-broken ", "tt-dream:dream, broken"])
def test_the_environment_disables_plugins_and_families_lists_them(
    install: Install, run: Callable[..., int], capsys: pytest.CaptureFixture[str], disable: str
) -> None:
    install("tt-dream", dream(), plugin="dream")
    install("tt-broken", "raise RuntimeError('no card')", plugin="broken")
    assert run("--strict-plugins", "families", disable=disable) == 0
    out = capsys.readouterr().out
    assert "DreamForCausalLM" not in out
    assert "Plugin dream of tt-dream 1.0 is disabled." in out
    assert "Plugin broken of tt-broken 1.0 is disabled." in out


def test_strict_plugins_ends_a_command_with_the_cause(
    install: Install, run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    install("tt-broken", "raise RuntimeError('no card')", plugin="broken")
    assert run("families") == 0
    assert "Plugin broken of tt-broken 1.0 could not be loaded:\nTraceback" in capsys.readouterr().out
    for command in (["families"], ["families", "explain", "LlamaForCausalLM"], ["generate", "folder", "prompt"]):
        assert run("--strict-plugins", *command) == 1
        err = capsys.readouterr().err
        assert "PluginError: plugin broken (tt-broken 1.0)\n       got  RuntimeError: no card" in err


def test_a_disabled_name_that_nothing_has_is_a_line_on_standard_error(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("families", disable="draem") == 0
    assert capsys.readouterr().err.startswith("No plugin answers to 'draem'")
