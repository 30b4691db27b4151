"""Hugging Face language models on Tenstorrent meshes, real or simulated.

    import ttfamily

    with ttfamily.load("meta-llama/Llama-3.1-8B", mesh="n300") as model:
        print(model.generate("The capital of France is", max_new_tokens=16))

Importing this package opens nothing and imports neither torch nor ttnn: a public name brings
its module with it when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ttfamily.errors import TtfamilyError
    from ttfamily.hookspecs import hookimpl
    from ttfamily.loading import load
    from ttfamily.model import Model
    from ttfamily.registry import Family, families

__version__ = "0.1.0"

__all__ = ["Family", "Model", "TtfamilyError", "__version__", "families", "hookimpl", "load"]

_HOME = {
    "Family": "ttfamily.registry",
    "Model": "ttfamily.model",
    "TtfamilyError": "ttfamily.errors",
    "families": "ttfamily.registry",
    "hookimpl": "ttfamily.hookspecs",
    "load": "ttfamily.loading",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
