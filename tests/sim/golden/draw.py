"""Operands of the sweep over ttnn's ops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import ttnn

if TYPE_CHECKING:
    from ttfamily.core.mesh.mesh import Mesh

SHAPE = (1, 1, 32, 64)


class Draw:
    """Makes operands of one call: on every device its own values, or on all of them those that one device had.

    :param only: None, or the device whose values all get.
    """

    def __init__(self, mesh: Mesh, only: int | None = None) -> None:
        self.mesh, self.only = mesh, only
        self.devices = mesh.device.get_num_devices()
        self.numbers = torch.Generator().manual_seed(1)
        self.tensors: list[ttnn.Tensor] = []
        self.values: list[list[torch.Tensor]] = []  # of every device, as they are stored

    def put(self, parts: list[torch.Tensor], dtype: ttnn.DataType, layout: ttnn.Layout) -> ttnn.Tensor:
        chosen = parts if self.only is None else [parts[self.only]] * len(parts)
        whole = torch.cat(chosen)
        tensor = ttnn.from_torch(
            whole,
            dtype,
            layout=layout,
            device=self.mesh.device,
            mesh_mapper=ttnn.ShardTensorToMesh(self.mesh.device, dim=0),
        )
        self.tensors.append(tensor)
        self.values.append(chosen)
        return tensor

    def real(self, *shape: int, low: float = -3.0, high: float = 3.0, rm: bool = False, **kind: Any) -> ttnn.Tensor:
        """Uniform numbers, bfloat16 unless ``dtype`` is given."""
        shape = shape or SHAPE
        dtype = kind.get("dtype", ttnn.bfloat16)
        parts = [torch.rand(shape, generator=self.numbers) * (high - low) + low for _ in range(self.devices)]
        if dtype == ttnn.bfloat16:
            parts = [part.bfloat16().float() for part in parts]
        return self.put(parts, dtype, ttnn.ROW_MAJOR_LAYOUT if rm else ttnn.TILE_LAYOUT)

    def whole(
        self, *shape: int, low: int = 0, high: int = 32, dtype: Any = ttnn.int32, rm: bool = False
    ) -> ttnn.Tensor:
        """Uniform integers from ``low`` to ``high - 1``."""
        shape = shape or SHAPE
        parts = [torch.randint(low, high, shape, generator=self.numbers).int() for _ in range(self.devices)]
        return self.put(parts, dtype, ttnn.ROW_MAJOR_LAYOUT if rm else ttnn.TILE_LAYOUT)

    def bits(self, *shape: int) -> ttnn.Tensor:
        """Zeros and ones in bfloat16."""
        shape = shape or SHAPE
        parts = [torch.randint(0, 2, shape, generator=self.numbers).float() for _ in range(self.devices)]
        return self.put(parts, ttnn.bfloat16, ttnn.TILE_LAYOUT)

    def same(self, values: list[Any], dtype: ttnn.DataType = ttnn.uint32) -> ttnn.Tensor:
        """The same integers on every device, row by row; the sweep does not follow it."""
        numbers = torch.tensor(values, dtype=torch.int32)
        return ttnn.from_torch(numbers, dtype, layout=ttnn.ROW_MAJOR_LAYOUT, device=self.mesh.device)

    def distinct(self, count: int, size: int) -> ttnn.Tensor:
        """Places in ``size`` without repeats, ``[1, 1, 32, count]``, row by row."""
        parts = [
            torch.stack([torch.randperm(size, generator=self.numbers)[:count] for _ in range(32)])[None, None].int()
            for _ in range(self.devices)
        ]
        return self.put(parts, ttnn.uint32, ttnn.ROW_MAJOR_LAYOUT)
