"""Files of ttfamily import each other in one direction only, and hold one idea each.

``make lint`` checks the layers; a circle between a package and its own files, or in a type alone, is found here.
"""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

import grimp
import pytest

import ttfamily

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

PACKAGE = Path(ttfamily.__file__).parent
LINES = 300


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    """Module -> what it imports of ttfamily: at its top, within functions and for types."""
    graph = grimp.build_graph("ttfamily", cache_dir=None, exclude_type_checking_imports=False)
    return {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}


def circle(imports: Mapping[str, AbstractSet[str]]) -> list[str]:
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_no_files_import_each_other_in_a_circle(imports: dict[str, set[str]]) -> None:
    assert circle(imports) == []


def test_every_file_and_every_kind_of_import_is_looked_at(imports: dict[str, set[str]]) -> None:
    files = {".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts) for file in PACKAGE.rglob("*.py")}
    assert {name.removesuffix(".__init__") for name in files} == imports.keys()
    assert "ttfamily.errors" in imports["ttfamily.tokenizer"]  # at its top
    assert "ttfamily.core.config.hf_config" in imports["ttfamily.tokenizer"]  # for a type
    assert "ttfamily.commands.plan" in imports["ttfamily.cli"]  # within a function


def test_a_circle_would_be_found() -> None:
    assert set(circle({"p": {"p.a"}, "p.a": {"p.b"}, "p.b": {"p"}, "q": {"p"}})) == {"p", "p.a", "p.b"}
    assert circle({"p": {"p.a", "p.b"}, "p.a": {"p.b"}, "p.b": set(), "q": {"p"}}) == []


def test_no_file_is_longer_than_a_reader_holds_in_mind() -> None:
    lines = {str(file.relative_to(PACKAGE)): len(file.read_text().splitlines()) for file in PACKAGE.rglob("*.py")}
    assert {file: count for file, count in lines.items() if count > LINES} == {}
