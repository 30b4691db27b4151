"""For tests of families: the conformance kit, correlation, and hypothesis strategies.

Installing ttfamily also installs a pytest plugin, ``ttfamily.testing.plugin``: the options ``--tt-mesh`` and
``--tt-device``, and the fixtures ``tt_mesh``, ``tt_mesh_names`` and ``tt_device``.

Importing this package imports neither torch nor ttnn; a name brings its module with it when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ttfamily.testing.configs import decoder_configs
    from ttfamily.testing.conformance import Conformance
    from ttfamily.testing.correlation import assert_pcc, pcc
    from ttfamily.testing.models import loaded, make_model, save_checkpoint
    from ttfamily.testing.strategies import batches, examples, lengths, page_table, prompts

__all__ = [
    "Conformance",
    "assert_pcc",
    "batches",
    "decoder_configs",
    "examples",
    "lengths",
    "loaded",
    "make_model",
    "page_table",
    "pcc",
    "prompts",
    "save_checkpoint",
]

_HOME = {
    "Conformance": "conformance",
    "assert_pcc": "correlation",
    "batches": "strategies",
    "decoder_configs": "configs",
    "examples": "strategies",
    "lengths": "strategies",
    "loaded": "models",
    "make_model": "models",
    "page_table": "strategies",
    "pcc": "correlation",
    "prompts": "strategies",
    "save_checkpoint": "models",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
