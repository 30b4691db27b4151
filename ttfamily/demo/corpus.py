"""Text that every machine with Python has: the Zen of Python and the standard library's docstrings."""

from __future__ import annotations

import ast
import codecs
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

from ttfamily.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

# Prose more than tables, and few enough words that a minute of training learns them by heart.
MODULES = ("heapq", "textwrap", "contextlib", "functools", "random")
SHORTEST = 100


def documents(library: Path | None = None) -> tuple[str, ...]:
    """Return the demo's texts, the same ones in the same order on every run of one Python.

    The sources are parsed, never imported: importing ``this`` would print it.

    :param library: the folder of the standard library; the running Python's by default.
    :raises ConfigError: if a source is not there (some distributions ship bytecode only).
    """
    library = Path(sysconfig.get_path("stdlib")) if library is None else library
    docstrings = [text for name in MODULES for text in _docstrings(_parsed(library, name)) if len(text) >= SHORTEST]
    return (_zen(_parsed(library, "this")), *docstrings)


def _parsed(library: Path, name: str) -> ast.Module:
    source = library / f"{name}.py"
    if not source.is_file():
        raise ConfigError(
            "demo corpus",
            got=f"no file {source}",
            expected="the standard library's sources",
            fix="Run the demo with a Python that has them (python.org, pyenv and most distributions do).",
        )
    return ast.parse(source.read_text(encoding="utf-8"))


def _zen(module: ast.Module) -> str:
    """Return the poem, which ``this.py`` holds as its longest string, in ROT13."""
    constants = [node.value for node in ast.walk(module) if isinstance(node, ast.Constant)]
    return codecs.decode(max((text for text in constants if isinstance(text, str)), key=len), "rot13")


def _docstrings(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and (text := ast.get_docstring(node)):
            yield text
