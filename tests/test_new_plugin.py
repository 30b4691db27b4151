"""``ttfamily new-plugin`` writes a package that installs at once and whose tests name every gap."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import transformers

import ttfamily
from ttfamily import HfConfig, fill_in
from ttfamily.commands.new_plugin import Parent, checked_module, new_plugin
from ttfamily.discovery import families
from ttfamily.errors import FamilyError, PluginError, RequestError
from ttfamily.gaps import NotFilledIn
from ttfamily.registry import FamilyRegistry, Plugin, ProvidedFamily

if TYPE_CHECKING:
    from collections.abc import Callable

FILES = {".gitignore", "README.md", "pyproject.toml", "src/tt_dream/__init__.py", "tests/test_conformance.py"}
FEW = ("--tt-mesh=n150", "--hypothesis-profile=quick", "--hypothesis-seed=0")
PYTEST = ("-m", "pytest", "-q", "-p", "no:cacheprovider", *FEW)
CHOSEN_TESTS = "filled_in or key or weight or norm or mlp or embedding or attention or layer"
# Another folder's sources before those that are installed.
PREPENDED = "import sys, pytest; sys.path.insert(0, {source!r}); sys.exit(pytest.main({options!r}))"


def write(folder: Path, name: str = "tt-dream", architecture: str | None = None, parent: str = "llama") -> str:
    return new_plugin(name, families(), folder=folder, architecture=architecture, parent=parent)


@pytest.fixture(scope="module")
def skeleton(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Callable[..., str]]:
    """A skeleton as it is written, installed, and a function that runs Python in its folder."""
    folder = tmp_path_factory.mktemp("plugins") / "tt-dream"
    site = folder.parent / "site"
    write(folder)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-qq", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", "--target", str(site), str(folder)], check=True)
    assert (site / "tt_dream/__init__.py").read_text() == (folder / "src/tt_dream/__init__.py").read_text()
    # The source comes first, since it is edited below; the metadata is what pip has installed.
    environment = {**os.environ, "PYTHONPATH": f"{folder / 'src'}{os.pathsep}{site}", "OMP_NUM_THREADS": "1"}

    def run(*arguments: str) -> str:
        ran = subprocess.run(
            [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        return ran.stdout + ran.stderr

    return folder, run


def test_the_skeleton_installs_imports_and_is_listed(skeleton: tuple[Path, Callable[..., str]]) -> None:
    folder, run = skeleton
    assert {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()} == FILES
    assert "tt-dream:dream gets it: the only claim." in run("-m", "ttfamily", "families", "explain", "DreamForCausalLM")
    modules = run("-c", "import sys, tt_dream; print({'torch', 'ttnn', 'transformers'} & set(sys.modules))")
    assert modules == "set()\n"


@pytest.mark.parametrize("kind", ["skeleton", "example"])
def test_an_editable_install_needs_nothing_but_what_ttfamily_brings(kind: str, tmp_path: Path) -> None:
    package, module = ("tt-dream", "tt_dream") if kind == "skeleton" else ("ttfamily-qwen", "ttfamily_qwen")
    folder = tmp_path / package
    if kind == "skeleton":
        write(folder)
    else:
        shutil.copytree(Path(__file__).parent.parent / "examples" / package, folder)
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv/bin/python"
    (site,) = (tmp_path / "venv/lib").glob("python*/site-packages")
    (site / "ours.pth").write_text("\n".join([*site_packages(), str(Path(ttfamily.__file__).parent.parent)]))
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", "install", "-qq"]
    options = ["--no-index", "--no-deps", "--no-build-isolation", "--editable"]
    subprocess.run([*pip, *options, str(folder)], check=True, capture_output=True, text=True)
    code = (
        "from importlib.metadata import entry_points\n"
        f"entry, = (e for e in entry_points(group='ttfamily') if e.value == {module!r})\n"
        "print(entry.load().__file__)"
    )
    ran = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert Path(ran.stdout.strip()) == folder / "src" / module / "__init__.py"


def site_packages() -> list[str]:
    """Return where hatchling and all that ttfamily needs are."""
    return [path for path in sys.path if path.endswith("site-packages")]


def test_every_gap_fails_with_its_file_and_line_and_passes_once_filled(
    skeleton: tuple[Path, Callable[..., str]],
) -> None:
    folder, run = skeleton
    family, tests = folder / "src/tt_dream/__init__.py", folder / "tests/test_conformance.py"
    failed = run(*PYTEST)
    reasons = re.findall(r"^E +(?:ttfamily\.\w+\.)?(\w+): (.*)", failed, re.MULTILINE)
    assert reasons
    assert all(kind == "NotFilledIn" or "has no DreamForCausalLM" in reason for kind, reason in reasons)
    # From the end of a file, so that the lines of the other gaps stay what they were.
    for file, what, filling in (
        (tests, "the class name", '"DreamForCausalLM"'),
        (family, "the module names", "_ = None"),
        (family, "what differs from", "_ = None"),
    ):
        gap = re.search(rf"fill_in\(\n *\"{what}(.*\n)+? *\)", file.read_text())
        assert gap is not None
        line = gap.string[: gap.start()].count("\n") + 1
        assert f"NotFilledIn: {file.relative_to(folder)}:{line}: got a gap; expected {what}" in failed
        file.write_text(gap.string.replace(gap.group(), filling))
    passed = run(*PYTEST, "-k", "filled_in")
    assert "3 passed" in passed


def test_a_skeleton_that_is_filled_in_conforms(tmp_path: Path, skeleton: tuple[Path, Callable[..., str]]) -> None:
    _, run = skeleton
    other = tmp_path / "tt-dream"
    write(other, architecture="LlamaForCausalLM")
    family = other / "src/tt_dream/__init__.py"
    family.write_text(re.sub(r"fill_in\(\n(.*\n)+? *\)", "_ = None", family.read_text()))
    # The kit's whole models and invariants would take most of the time, and are Llama's own test.
    options = [
        *PYTEST[2:],
        str(other),
        "-k",
        CHOSEN_TESTS,
    ]
    report = run("-c", PREPENDED.format(source=str(other / "src"), options=options))
    assert re.search(r"\d+ passed", report)
    assert "FAILED" not in report.replace("test_the_architecture_is_filled_in_and_found", "")


def test_with_an_architecture_only_spec_and_weights_are_gaps(
    tmp_path: Path, skeleton: tuple[Path, Callable[..., str]]
) -> None:
    _, run = skeleton
    other = tmp_path / "tt-dream"
    write(other, architecture="DreamForCausalLM")
    assert "fill_in" not in (other / "tests/test_conformance.py").read_text()
    options = [*PYTEST[2:], str(other), "-k", "filled_in"]
    assert "2 failed, 1 passed" in run("-c", PREPENDED.format(source=str(other / "src"), options=options))


@pytest.mark.parametrize("name", [each.family.name for each in families().provided])
def test_every_installed_family_can_be_the_parent(name: str, tmp_path: Path) -> None:
    provided = families().named(name)
    said = write(tmp_path / "x", parent=name)
    source = (tmp_path / "x/src/tt_dream/__init__.py").read_text()
    assert Parent.of(provided).import_line in source
    names: dict[str, object] = {"__name__": "strange"}
    exec(compile(source, "family.py", "exec"), names)  # noqa: S102 -- what was just written
    config = getattr(transformers, provided.family.architectures[0]).config_class()
    with pytest.raises(NotFilledIn, match="what differs from"):
        names["DREAM"].spec(HfConfig.of(config))  # type: ignore[attr-defined]
    with pytest.raises(NotFilledIn, match="the module names"):
        names["DREAM"].rules(provided.family.spec(HfConfig.of(config)))  # type: ignore[attr-defined]
    assert "ttfamily families explain DreamForCausalLM" in said


def test_what_is_written_is_in_good_style(tmp_path: Path) -> None:
    for name, architecture in (("tt-dream", None), ("tt-a-rather-long-name", "LongForCausalLM")):
        write(tmp_path / name, name, architecture)
        for file in (tmp_path / name).rglob("*.py"):
            text = file.read_text()
            assert max(map(len, text.splitlines())) <= 120
            assert text.endswith("\n")
            assert "$" not in text


def test_a_strangers_family_as_parent_becomes_a_dependency(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = type(sys)("strange_parent")
    module.PARENT = families().named("llama").family  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "strange_parent", module)
    plugin = Plugin(name="p", package="tt-parent", version="2.5", module="strange_parent:hook")
    registry = FamilyRegistry(provided=(ProvidedFamily(family=module.PARENT, plugin=plugin),))
    new_plugin("tt-dream", registry, folder=tmp_path / "x", architecture=None, parent="tt-parent:llama")
    needed = f'dependencies = [\n  "tt-parent>=2.5",\n  "ttfamily>={ttfamily.__version__}",\n]'
    assert needed in (tmp_path / "x/pyproject.toml").read_text()
    assert "import strange_parent\n" in (tmp_path / "x/src/tt_dream/__init__.py").read_text()
    del module.PARENT
    with pytest.raises(PluginError, match="no public name"):
        new_plugin("tt-dream", registry, folder=tmp_path / "y", architecture=None, parent="llama")


def test_a_claim_on_a_known_architecture_is_pointed_out(tmp_path: Path) -> None:
    said = write(tmp_path / "x", architecture="LlamaForCausalLM")
    assert "claimed by ttfamily:llama too: choose with --family tt-dream:dream." in said


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("TT_Dream", "Take 'tt-dream'"),
        ("tt--dream", "Take 'tt-dream'"),
        ("-", "letters, digits and hyphens"),
        ("", "letters, digits and hyphens"),
        ("../dream", "letters, digits and hyphens"),
        ("träum", "letters, digits and hyphens"),
        ("7b", "Begin with a letter"),
        ("class", "no keyword"),
        ("pytest", "a package pytest"),
        ("json", "a module json"),
    ],
)
def test_a_name_that_cannot_be_a_new_package_is_refused(name: str, hint: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=re.escape(hint)):
        write(tmp_path / "x", name)
    assert not list(tmp_path.iterdir())


def test_names_become_modules() -> None:
    assert [checked_module(name) for name in ("tt-dream", "dream2")] == ["tt_dream", "dream2"]


@pytest.mark.parametrize(
    ("changes", "kind", "part"),
    [
        ({"architecture": 'X"); import os'}, RequestError, "--architecture"),
        ({"parent": "nobody"}, FamilyError, "nobody"),
        ({"folder": "there"}, RequestError, "which exists"),
        ({"folder": "dangling"}, RequestError, "which exists"),
        ({"folder": "no/such/place"}, RequestError, "no folder"),
    ],
)
def test_nothing_is_written_or_overwritten_where_something_is_wrong(
    changes: dict[str, str], kind: type[Exception], part: str, tmp_path: Path
) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "dangling").symlink_to("nothing")
    folder = tmp_path / changes.pop("folder", "x")
    with pytest.raises(kind, match=part):
        write(folder, **changes)
    assert {each.name for each in tmp_path.iterdir()} == {"there", "dangling"}
    assert not list((tmp_path / "there").iterdir())


def test_an_interrupted_run_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_a_gap_says_where_it_is_and_what_belongs_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parent)
    with pytest.raises(NotFilledIn) as caught:
        fill_in("a number")
    error = caught.value
    assert re.fullmatch(rf"{Path(__file__).name}:\d+", error.who)
    assert (error.got, error.expected) == ("a gap", "a number")
