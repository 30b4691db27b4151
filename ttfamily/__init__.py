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
    from ttfamily.core.config.hf_config import HfConfig
    from ttfamily.core.config.precision_policy import POLICIES, PrecisionPolicy
    from ttfamily.core.config.spec import (
        AttentionSpec,
        DynamicScaling,
        LinearScaling,
        Llama3Scaling,
        MlpSpec,
        ModelSpec,
        NormSpec,
        RopeSpec,
        head_dim_of,
    )
    from ttfamily.core.mesh.boards import Axis, Board
    from ttfamily.core.mesh.mesh import Mesh, open_mesh
    from ttfamily.core.weights.rules import WeightRule, column, replicated, row, width
    from ttfamily.discovery import families
    from ttfamily.errors import ConfigError, PluginError, TtfamilyError
    from ttfamily.family import Family
    from ttfamily.gaps import fill_in
    from ttfamily.hookspecs import CONTRACT, hookimpl
    from ttfamily.loading import load
    from ttfamily.model import Model

__version__ = "0.1.0"

__all__ = [  # noqa: RUF022 -- in the order of sorted(), as a test has it
    "AttentionSpec",
    "Axis",
    "Board",
    "CONTRACT",
    "ConfigError",
    "DynamicScaling",
    "Family",
    "HfConfig",
    "LinearScaling",
    "Llama3Scaling",
    "Mesh",
    "MlpSpec",
    "Model",
    "ModelSpec",
    "NormSpec",
    "POLICIES",
    "PluginError",
    "PrecisionPolicy",
    "RopeSpec",
    "TtfamilyError",
    "WeightRule",
    "__version__",
    "column",
    "families",
    "fill_in",
    "head_dim_of",
    "hookimpl",
    "load",
    "open_mesh",
    "replicated",
    "row",
    "width",
]

_HOME = {
    "AttentionSpec": "ttfamily.core.config.spec",
    "Axis": "ttfamily.core.mesh.boards",
    "Board": "ttfamily.core.mesh.boards",
    "CONTRACT": "ttfamily.hookspecs",
    "ConfigError": "ttfamily.errors",
    "DynamicScaling": "ttfamily.core.config.spec",
    "Family": "ttfamily.family",
    "HfConfig": "ttfamily.core.config.hf_config",
    "LinearScaling": "ttfamily.core.config.spec",
    "Llama3Scaling": "ttfamily.core.config.spec",
    "Mesh": "ttfamily.core.mesh.mesh",
    "MlpSpec": "ttfamily.core.config.spec",
    "Model": "ttfamily.model",
    "ModelSpec": "ttfamily.core.config.spec",
    "NormSpec": "ttfamily.core.config.spec",
    "POLICIES": "ttfamily.core.config.precision_policy",
    "PluginError": "ttfamily.errors",
    "PrecisionPolicy": "ttfamily.core.config.precision_policy",
    "RopeSpec": "ttfamily.core.config.spec",
    "TtfamilyError": "ttfamily.errors",
    "WeightRule": "ttfamily.core.weights.rules",
    "column": "ttfamily.core.weights.rules",
    "families": "ttfamily.discovery",
    "fill_in": "ttfamily.gaps",
    "head_dim_of": "ttfamily.core.config.spec",
    "hookimpl": "ttfamily.hookspecs",
    "load": "ttfamily.loading",
    "open_mesh": "ttfamily.core.mesh.mesh",
    "replicated": "ttfamily.core.weights.rules",
    "row": "ttfamily.core.weights.rules",
    "width": "ttfamily.core.weights.rules",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
