"""What a family's own block is made of: the core's blocks, and the parts that they have in common.

Importing this module imports ttnn: a plugin names its blocks by path (``blocks={"layer.mlp": "module:Class"}``)
and imports it in that module only.
"""

from __future__ import annotations

from ttfamily.core.blocks.attention import Attention, fuse
from ttfamily.core.blocks.block import Block
from ttfamily.core.blocks.ccl import Collective
from ttfamily.core.blocks.collectives import CollectivePair, collective, sum_columns
from ttfamily.core.blocks.head_norm import RmsHeadNorm
from ttfamily.core.blocks.kv_cache import LayerCache
from ttfamily.core.blocks.linear import Linear, WideLinear, column_linear
from ttfamily.core.blocks.mlp import GatedMlp, PlainMlp
from ttfamily.core.blocks.norm import Norm
from ttfamily.core.blocks.parameter import Parameter
from ttfamily.core.blocks.rope import interleave
from ttfamily.core.blocks.slots import AttentionBlock, MlpBlock, NormBlock
from ttfamily.core.blocks.steps import DecodeStep, PrefillChunk
from ttfamily.core.layout.heads import HeadPlan, arrange
from ttfamily.core.layout.plan import Plan
from ttfamily.core.layout.stream import StreamLayout
from ttfamily.core.mesh.placement import Sharding
from ttfamily.core.weights.weights import Weights
from ttfamily.tiles import TILE

__all__ = [
    "TILE",
    "Attention",
    "AttentionBlock",
    "Block",
    "Collective",
    "CollectivePair",
    "DecodeStep",
    "GatedMlp",
    "HeadPlan",
    "LayerCache",
    "Linear",
    "MlpBlock",
    "Norm",
    "NormBlock",
    "Parameter",
    "PlainMlp",
    "Plan",
    "PrefillChunk",
    "RmsHeadNorm",
    "Sharding",
    "StreamLayout",
    "Weights",
    "WideLinear",
    "arrange",
    "collective",
    "column_linear",
    "fuse",
    "interleave",
    "sum_columns",
]
