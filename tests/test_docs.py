"""The tutorial's package is made and conforms, its commands run; the reference pages leave nothing out."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import torch
from typer.main import get_command

import ttfamily
import ttfamily.testing
from ttfamily import blocks as own_blocks
from ttfamily.cli import app
from ttfamily.core.config import spec as specs
from ttfamily.core.weights.weights import SLOTS
from ttfamily.family import BLOCK_SLOTS, Family
from ttfamily.plugins import falcon, llama
from ttfamily.testing import Conformance, plugin
from ttfamily.testing.conformance import blocks, logits

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
FENCE = re.compile(r"^```(\w*)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = {file.stem: file.read_text() for file in sorted(DOCS.rglob("*.md"))}
TUTORIAL = PAGES["writing-a-plugin"]
# What the documentation's short examples take for granted.
PRELUDE = """
from hypothesis import strategies as st
from ttfamily import *
from ttfamily.testing import Conformance
from tt_stablelm import STABLELM, WEIGHTS, spec
"""
# A block of its own, put to the kit: beside the reader's own test.
SQUARED = """
from test_conformance import TestStableLm as Usual
from tt_stablelm.variant import SQUARED


class TestSquared(Usual):
    family = SQUARED
    keys = {**Usual.keys, "hidden_act": "relu2"}
"""


def listings(page: str) -> dict[str, str]:
    """File -> what the page puts into it; several listings of one file follow one another."""
    found: dict[str, str] = {}
    for _, file, code in FENCE.findall(page):
        if file:
            found[file] = found.get(file, "") + code
    return found


def snippets(page: str, language: str) -> list[str]:
    return [code for kind, file, code in FENCE.findall(page) if kind == language and not file]


def commands(page: str) -> list[str]:
    return [line.partition("  #")[0].strip() for code in snippets(page, "sh") for line in code.splitlines()]


def section(page: str, heading: str) -> str:
    """From a heading to the next of its level, without code blocks."""
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", FENCE.sub("", page), re.MULTILINE | re.DOTALL)
    assert found is not None, f"no section {heading}"
    return found.group(1)


def missing(text: str, names: Any) -> list[str]:
    """Return the names that do not stand in backticks, alone or with arguments after them."""
    text = FENCE.sub("", text)
    return [name for name in names if not re.search(rf"`{re.escape(name)}(?![\w-])[^`]*`", text)]


def first_cells(text: str) -> str:
    """Return what the rows of a text's tables are about."""
    return "\n".join(re.findall(r"^\| ([^|]+) \|", FENCE.sub("", text), re.MULTILINE))


# ---- the tutorial


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """What a reader has at the end of the tutorial; runs a command line in its folder and returns the output."""
    folder, site = tmp_path_factory.mktemp("reader"), tmp_path_factory.mktemp("site")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}

    def run(line: str, *more: str) -> str:
        words = shlex.split(line)
        settings = dict(word.split("=", 1) for word in words if re.match(r"[A-Z_]+=", word))
        program, *arguments = [word for word in words if not re.match(r"[A-Z_]+=", word)]
        start = [sys.executable, *([] if program == "python" else ["-m", program])]
        ran = subprocess.run(
            [*start, *arguments, *more],
            cwd=folder,
            env={**environment, **settings},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-6000:]
        return ran.stdout

    new, _cd, install, _explain = commands(TUTORIAL)[:4]
    assert (new.split()[1], install) == ("new-plugin", "pip install -e '.[test]'")
    run(new)
    folder = folder / new.split()[2]
    offline = "--disable-pip-version-check -qq --no-index --no-deps --no-build-isolation"
    run(f"pip install {offline} --target {shlex.quote(str(site))} .")
    for file, code in {**listings(TUTORIAL), **listings(PAGES["family"]), "tests/test_squared.py": SQUARED}.items():
        assert (folder / file).parent.is_dir()
        (folder / file).write_text(code)
    # The source comes first, for it is what the reader edits; the metadata is what pip has installed.
    environment["PYTHONPATH"] = os.pathsep.join([str(folder / "src"), str(site), str(ROOT)])
    return run


def test_the_tutorials_family_conforms_and_so_does_the_block_of_its_own(reader: Callable[..., str]) -> None:
    (line,) = (each for each in commands(TUTORIAL) if each.startswith("pytest") and "n150" in each)
    chosen = "TestStableLm or test_mlp or test_decoder_layer"
    report = reader(line, "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0", "-k", chosen)
    tests = sum(name.startswith("test_") for name in dir(Conformance))
    assert f"{tests - 1 + 2} passed, 1 skipped" in report  # one mesh has none to agree with
    assert re.search(r"TestStableLm .* worst PCC 0\.999", report)
    assert re.search(r"TestSquared .* worst PCC 0\.99[89]", report)


def test_the_tutorials_commands_say_what_it_says(reader: Callable[..., str]) -> None:
    lines = commands(TUTORIAL)
    (explain,) = (line for line in lines if line.startswith("ttfamily families explain"))
    assert "tt-stablelm:stablelm gets it: the only claim." in reader(explain)
    (disable,) = (line for line in lines if line.startswith("TTFAMILY_DISABLE_PLUGINS"))
    assert "Plugin stablelm of tt-stablelm 0.1.0 is disabled." in reader(disable)


def test_the_short_examples_run(reader: Callable[..., str]) -> None:
    pages = ("writing-a-plugin", "hook", "family", "spec", "testing")
    code = PRELUDE + "\n".join(snippet for page in pages for snippet in snippets(PAGES[page], "python"))
    assert reader("python", "-c", code).startswith("ModelSpec(")


def test_the_transform_of_the_tutorial_is_falcons() -> None:
    (code,) = (each for each in snippets(TUTORIAL, "python") if "def ungroup" in each)
    names: dict[str, Any] = {"column": ttfamily.column}
    exec(compile(code, "writing-a-plugin.md", "exec"), names)  # noqa: S102  (our own page)
    attention = specs.AttentionSpec(
        num_attention_heads=6, num_key_value_heads=2, head_dim=4, qkv_bias=True, out_bias=True, scale=0.5
    )
    model = type("Model", (), {"attention": attention})()
    for fused in (torch.randn(40, 24), torch.randn(40)):
        pairs = zip(names["ungroup"]((fused,), model), falcon.ungroup((fused,), model), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)


@pytest.mark.parametrize("line", sorted({line for page in PAGES.values() for line in commands(page)}))
def test_every_command_parses(line: str) -> None:
    words = [word for word in shlex.split(line) if not word.startswith("TTFAMILY_")]
    assert words[0] in ("ttfamily", "pytest", "pip", "cd")
    if words[0] == "ttfamily":
        command = get_command(app)
        with command.make_context("ttfamily", words[1:], resilient_parsing=False) as context:
            name, sub, rest = command.resolve_command(context, [*context._protected_args, *context.args])
            sub.make_context(name, rest, parent=context)


# ---- the reference

FIELDS = [
    ("family", Family),
    ("family", ttfamily.WeightRule),
    *(("spec", kind) for kind in (specs.ModelSpec, specs.AttentionSpec, specs.MlpSpec, specs.NormSpec, specs.RopeSpec)),
]


@pytest.mark.parametrize(("page", "kind"), FIELDS)
def test_every_field_has_its_line(page: str, kind: Any) -> None:
    names = [field.name for field in attrs.fields(kind)]
    rows = re.findall(r"^\| `(\w+)`", section(PAGES[page], kind.__name__), re.MULTILINE)
    assert [row for row in rows if row not in ("LinearScaling", "DynamicScaling", "Llama3Scaling")] == names


@pytest.mark.parametrize("kind", [specs.LinearScaling, specs.DynamicScaling, specs.Llama3Scaling])
def test_every_scaling_has_its_line(kind: Any) -> None:
    (line,) = re.findall(rf"^\| `{kind.__name__}` .*$", PAGES["spec"], re.MULTILINE)
    assert not missing(line, [field.name for field in attrs.fields(kind)])


def test_every_value_of_a_switch_is_named() -> None:
    values = {*specs.Activation.__args__, *specs.Residual.__args__}
    assert not missing(PAGES["spec"], values)


def test_every_method_of_a_config_has_its_line() -> None:
    public = [name for name in dir(ttfamily.HfConfig) if not name.startswith("_")]
    assert not missing(first_cells(section(PAGES["spec"], "HfConfig")), public)


def test_every_public_name_is_named() -> None:
    assert not missing(first_cells(section(PAGES["hook"], "Public names")), ttfamily.__all__)
    assert not missing(first_cells(section(PAGES["testing"], "For tests of your own")), ttfamily.testing.__all__)
    assert not missing(first_cells(section(PAGES["family"], "Blocks")), own_blocks.__all__)


def test_every_slot_has_its_line() -> None:
    core = "".join(file.read_text() for file in (ROOT / "ttfamily/core/blocks").glob("*.py"))
    asked = set(re.findall(r'"(layer\.\w+\.\w+)"', core)) | set(llama.WEIGHTS)
    asked |= {"layer.attention.q_norm", "layer.attention.k_norm"}  # made with an f-string
    named = re.findall(r"^\| `([\w.]+)` ", section(PAGES["family"], "Slots"), re.MULTILINE)
    assert sorted(named) == sorted(asked) == sorted(SLOTS)
    assert not missing(section(PAGES["family"], "Blocks"), BLOCK_SLOTS)


class Options:
    """Stands in for pytest's parser."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def getgroup(self, *_: str) -> Options:
        return self

    def addoption(self, name: str, **_: Any) -> None:
        self.names.append(name)


def test_every_option_fixture_marker_and_profile_is_named(pytestconfig: pytest.Config) -> None:
    options = Options()
    plugin.pytest_addoption(options)  # type: ignore[arg-type]
    assert len(options.names) >= 2
    fixtures = [name for name, value in vars(plugin).items() if "Fixture" in type(value).__name__]
    assert len(fixtures) >= 3
    markers = [line.partition(":")[0].partition("(")[0] for line in pytestconfig.getini("markers")]
    markers = [name for name in markers if name.startswith("tt_")]
    assert len(markers) >= 2
    profiles = [f"--hypothesis-profile {name}" for name in plugin.PROFILE_EXAMPLES]
    page = section(PAGES["testing"], "The pytest plugin")
    assert not missing(first_cells(page), [*options.names, *fixtures, *markers, *profiles])
    for name, count in plugin.PROFILE_EXAMPLES.items():
        assert re.search(rf"^\| `--hypothesis-profile {name}` \| {count // 10} example", page, re.MULTILINE)
    assert plugin.DEFAULT_MESHES in page


def test_every_test_of_the_kit_has_its_line_and_bound() -> None:
    page = section(PAGES["testing"], "Conformance")
    rows = dict(re.findall(r"^\| `(test_\w+)` \|.*\| ([^|]+) \|$", page, re.MULTILINE))
    assert sorted(rows) == sorted(name for name in dir(Conformance) if name.startswith("test_"))
    for test, bound in (
        ("test_mlp", blocks.BLOCK_PCC),
        ("test_attention", blocks.CACHE_PCC),
        ("test_decoder_layer", blocks.LAYER_PCC),
        ("test_logits_of_prefill_and_32_decode_steps", logits.MODEL_PCC),
        ("test_meshes_agree", logits.SAME_PCC),
    ):
        assert re.search(rf"\b{re.escape(str(bound))}(?!\d)", rows[test]), test
    settable = ("family", "keys", "excluded", "config_class", "modules", "reference", "configs")
    assert not missing(first_cells(page), settable)


# ---- links


def anchors(text: str) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize(
    "file", [*ROOT.glob("*.md"), *DOCS.rglob("*.md")], ids=lambda file: str(file.relative_to(ROOT))
)
def test_relative_links_resolve(file: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", file.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (file.parent / path).resolve() if path else file
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text()), link
