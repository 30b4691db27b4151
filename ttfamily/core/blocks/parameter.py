"""A tensor that stays on the mesh for as long as the model does: weights, tables, the cache."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs
import ttnn

from ttfamily.core.config.precision import ttnn_dtype
from ttfamily.core.layout.sizes import dram_bytes
from ttfamily.core.mesh.placement import WHOLE, Sharding, put

if TYPE_CHECKING:
    import torch

    from ttfamily.core.config.precision import Format
    from ttfamily.core.mesh.mesh import Mesh


@attrs.define(kw_only=True, eq=False)
class Parameter:
    """Declared when its block is built, so that budgets and plans can count it; filled when the block is loaded.

    :param slot: what it is filled with: a slot of the family's weight table, or a name of the block's own.
    :param layer: the layer's number, or None for what no layer has.
    :param shape: of all devices of a replica together.
    :param format: of its elements; row-major ones are bf16.
    :param sharding: how it is cut over the mesh.
    :ivar tensor: on the mesh; there is none before it is filled.
    """

    mesh: Mesh
    slot: str
    layer: int | None = None
    shape: tuple[int, ...]
    format: Format = "bf16"
    layout: ttnn.Layout = ttnn.TILE_LAYOUT
    memory_config: ttnn.MemoryConfig = ttnn.DRAM_MEMORY_CONFIG
    sharding: Sharding = WHOLE
    tensor: ttnn.Tensor = attrs.field(init=False, repr=False)

    @property
    def device_shape(self) -> tuple[int, ...]:
        """Of one device's part."""
        shape = list(self.shape)
        for axis, dim in enumerate(self.sharding.by_axis(self.mesh)):
            if dim is not None:
                shape[dim] //= self.mesh.shape[axis]
        return tuple(shape)

    @property
    def parts(self) -> int:
        """How many devices of a replica share it; 1 if each has all of it."""
        return math.prod(self.shape) // math.prod(self.device_shape)

    @property
    def dram_bytes(self) -> int:
        """What it takes of each chip's DRAM."""
        return dram_bytes(self.device_shape, self.format, self.layout, self.memory_config, self.mesh.dram_banks)

    def fill(self, values: torch.Tensor) -> None:
        """Put values of :attr:`shape` on the mesh."""
        self.tensor = put(
            self.mesh,
            values,
            dtype=ttnn_dtype(self.format),
            layout=self.layout,
            memory_config=self.memory_config,
            sharding=self.sharding,
        )

    def fill_with_zeros(self) -> None:
        """Put zeros on the mesh, which take no memory of the host."""
        self.tensor = ttnn.zeros(
            list(self.device_shape),
            dtype=ttnn_dtype(self.format),
            layout=self.layout,
            device=self.mesh.device,
            memory_config=self.memory_config,
        )
