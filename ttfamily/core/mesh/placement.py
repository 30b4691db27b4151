"""Tensors between host and mesh: put there whole or cut, and read back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import torch
import ttnn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ttfamily.core.mesh.mesh import Mesh


@attrs.frozen(kw_only=True)
class Sharding:
    """Along which of a tensor's dimensions each role of a mesh's axes cuts it; None for not at all.

    Two roles may cut the same dimension, which then falls into as many parts as both have together.
    """

    tensor: int | None = None
    hidden: int | None = None
    data: int | None = None

    def by_axis(self, mesh: Mesh) -> list[int | None]:
        """Return the dimension that each mesh axis cuts."""
        dims: list[int | None] = [None, None]
        spec = mesh.spec
        for axis, dim in (
            (spec.tensor_axis, self.tensor),
            (spec.hidden_axis, self.hidden),
            (spec.data_axis, self.data),
        ):
            if axis is not None:
                dims[axis] = dim
        return dims


WHOLE = Sharding()
BY_REPLICA = Sharding(data=0)  # rows for each replica, one after the other


def put(
    mesh: Mesh,
    tensor: torch.Tensor,
    *,
    dtype: ttnn.DataType,
    layout: ttnn.Layout = ttnn.TILE_LAYOUT,
    memory_config: ttnn.MemoryConfig = ttnn.DRAM_MEMORY_CONFIG,
    sharding: Sharding = WHOLE,
) -> ttnn.Tensor:
    """Put a host tensor on every device of the mesh, whole or cut.

    :param tensor: any shape; a dimension that is cut, a multiple of the parts.
    :returns: a device tensor whose shape is that of one device's part.
    """
    return ttnn.from_torch(
        tensor,
        dtype=dtype,
        layout=layout,
        device=mesh.device,
        memory_config=memory_config,
        mesh_mapper=_mapper(mesh, sharding),
    )


def host_copy(
    mesh: Mesh,
    tensor: torch.Tensor,
    *,
    dtype: ttnn.DataType,
    layout: ttnn.Layout = ttnn.ROW_MAJOR_LAYOUT,
    sharding: Sharding = WHOLE,
) -> ttnn.Tensor:
    """Make a host tensor that can be copied into a device tensor of the same layout and cut."""
    return ttnn.from_torch(tensor, dtype=dtype, layout=layout, mesh_mapper=_mapper(mesh, sharding))


def integers(mesh: Mesh, tensor: torch.Tensor, dtype: ttnn.DataType, sharding: Sharding = WHOLE) -> ttnn.Tensor:
    """Put token ids, positions or a page table on every device, row-major in DRAM."""
    return put(mesh, tensor, dtype=dtype, layout=ttnn.ROW_MAJOR_LAYOUT, sharding=sharding)


def write(mesh: Mesh, tensor: torch.Tensor, destination: ttnn.Tensor, sharding: Sharding = WHOLE) -> None:
    """Write host integers into a device tensor that is cut the same way, in place: its buffer stays where it is."""
    ttnn.copy_host_to_device_tensor(host_copy(mesh, tensor, dtype=destination.dtype, sharding=sharding), destination)


def read(mesh: Mesh, tensor: ttnn.Tensor, sharding: Sharding = WHOLE) -> torch.Tensor:
    """Read a tensor and join its parts; along an axis that does not cut it the first device has what all have."""
    parts = ttnn.get_device_tensors(tensor)
    rows, columns = mesh.shape
    by_row, by_column = sharding.by_axis(mesh)

    def joined(values: Iterator[torch.Tensor], dim: int | None) -> torch.Tensor:
        return next(values) if dim is None else torch.cat(list(values), dim)

    return joined(
        (
            joined((ttnn.to_torch(parts[row * columns + column]) for column in range(columns)), by_column)
            for row in range(rows)
        ),
        by_row,
    )


def _mapper(mesh: Mesh, sharding: Sharding) -> ttnn.CppTensorToMesh:
    dims = sharding.by_axis(mesh)
    placements = [ttnn.PlacementReplicate() if dim is None else ttnn.PlacementShard(dim) for dim in dims]
    return ttnn.create_mesh_mapper(mesh.device, ttnn.MeshMapperConfig(placements))
