"""``ttfamily new-plugin``: write a package with one family, which can be installed and has gaps to fill in."""

from __future__ import annotations

import keyword
import re
import shutil
import tempfile
from importlib import import_module, metadata, resources, util
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import attrs

import ttfamily
from ttfamily.errors import PluginError, RequestError
from ttfamily.hookspecs import CONTRACT
from ttfamily.registry import normalised

if TYPE_CHECKING:
    from ttfamily.registry import FamilyRegistry, ProvidedFamily

TEMPLATES = {
    "pyproject.toml": "pyproject.toml.tmpl",
    "README.md": "README.md.tmpl",
    ".gitignore": "gitignore.tmpl",
    "src/$module/__init__.py": "family.py.tmpl",
    "tests/test_conformance.py": "test_conformance.py.tmpl",
}
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_GAP = """fill_in(
        "the class name that config.json has under architectures, here and in src/{}/__init__.py"
    )"""


@attrs.frozen(kw_only=True)
class Parent:
    """The family that a new one starts from.

    :param provided: what is installed.
    :param value: how the new package's code names it, as in ``llama.LLAMA``.
    :param import_line: what makes that name known.
    """

    provided: ProvidedFamily
    value: str
    import_line: str

    @classmethod
    def of(cls, provided: ProvidedFamily) -> Parent:
        """Find the family's name in the module of its plugin.

        :raises PluginError: if the module has no public name for it.
        """
        path = provided.plugin.module.partition(":")[0].strip()
        public = [
            name
            for name, value in vars(import_module(path)).items()
            if value is provided.family and not name.startswith("_")
        ]
        if not public:
            raise PluginError(
                f"family {provided.qualified_name}",
                got=f"no public name for it in {path}",
                expected="a module that keeps its family under a name, as ttfamily.plugins.llama keeps LLAMA",
                fix="Start from another family with --from.",
            )
        package, _, module = path.rpartition(".")
        line = f"from {package} import {module}" if package else f"import {module}"
        return cls(provided=provided, value=f"{module}.{public[0]}", import_line=line)


def new_plugin(
    name: str, registry: FamilyRegistry, *, folder: Path | None, architecture: str | None, parent: str
) -> str:
    """Write a package's skeleton, all of it or nothing, and return what to do next.

    :param name: of the package, in the form the package index shows.
    :param registry: where the parent is looked up.
    :param folder: made here and must not exist; ``./name`` by default.
    :param architecture: the class name in config.json; None leaves a gap.
    :param parent: the name of the family to start from.
    :raises RequestError: if the name, the architecture or the folder cannot be.
    :raises FamilyError: if the parent is not installed.
    """
    module = checked_module(name)
    family = re.sub(r"^(ttfamily|tt)-(?=[a-z])", "", name)
    words = "".join(part.capitalize() for part in family.split("-"))
    if architecture is not None and not architecture.isidentifier():
        raise _refused("--architecture", repr(architecture), "a class name such as LlamaForCausalLM", "Correct it.")
    target = folder if folder is not None else Path(name)
    if target.exists() or target.is_symlink():
        raise _refused("--folder", f"{target}, which exists", "a folder to be made", "Choose another, or remove it.")
    if not target.absolute().parent.is_dir():
        parent_folder = target.absolute().parent
        raise _refused("--folder", f"no folder {parent_folder}", "a place to make it in", "Make it, or choose another.")
    origin = Parent.of(registry.named(parent))
    own, theirs = architecture or f"{words}ForCausalLM", origin.provided.plugin
    needed = {theirs.package: theirs.version, "ttfamily": ttfamily.__version__}
    _write(
        target.absolute(),
        {
            "name": name,
            "module": module,
            "family": family,
            "VALUE": family.upper().replace("-", "_"),
            "Class": words,
            "contract": str(CONTRACT),
            "architecture": own,
            "architecture_or_gap": f'"{own}"' if architecture else _GAP.format(module),
            "import_fill_in": "" if architecture else ", fill_in",
            "parent": origin.provided.family.name.capitalize(),
            "parent_architecture": origin.provided.family.architectures[0],
            "parent_value": origin.value,
            "import_parent": origin.import_line,
            "dependencies": "".join(f'  "{package}>={version}",\n' for package, version in needed.items()),
        },
    )
    claims = " and ".join(each.qualified_name for each in registry.claims(own))
    note = f"\n{own} is claimed by {claims} too: choose with --family {name}:{family}." if claims else ""
    return (
        f"Wrote {target}. Next:\n"
        f"  cd {target}\n"
        "  pip install -e '.[test]'\n"
        f"  ttfamily families explain {own}\n"
        f"  pytest\nThe tests that fail say what to fill in, in which file and line.{note}"
    )


def checked_module(name: str) -> str:
    """Return the module of a new package of this name.

    :raises RequestError: if it is no normalised name, makes no module, or is installed already.
    """
    if not _NAME.fullmatch(name):
        hint = normalised(name).strip("-")
        fix = f"Take {hint!r}." if _NAME.fullmatch(hint) else "Take letters, digits and hyphens."
        raise _refused("NAME", repr(name), "a package name in lower case, its words joined by single hyphens", fix)
    module = name.replace("-", "_")
    if not module.isidentifier() or keyword.iskeyword(module):
        raise _refused("NAME", repr(name), "a name that makes a module's", "Begin with a letter, and take no keyword.")
    if _installed(name) or util.find_spec(module) is not None:
        what = f"package {name}" if _installed(name) else f"module {module}"
        raise _refused("NAME", f"{name!r}, and a {what} is installed", "a new name", "Choose another.")
    return module


def _installed(package: str) -> bool:
    try:
        metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def _write(target: Path, values: dict[str, str]) -> None:
    """Write everything beside the target, then rename: an interrupted run leaves no half of a package there."""
    source = resources.files("ttfamily.commands") / "plugin_template"
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        for path, template in TEMPLATES.items():
            file = aside / "skeleton" / Template(path).substitute(values)
            file.parent.mkdir(parents=True, exist_ok=True)
            text = Template((source / template).read_text(encoding="utf-8")).substitute(values)
            file.write_text(text, encoding="utf-8")
        (aside / "skeleton").rename(target)
    finally:
        shutil.rmtree(aside)


def _refused(who: str, got: str, expected: str, fix: str) -> RequestError:
    return RequestError(who, got=got, expected=expected, fix=fix)
