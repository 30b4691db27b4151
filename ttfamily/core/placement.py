"""Tensors between host and mesh: put there whole or cut, and read back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import ttnn

from ttfamily.core.mesh import TENSOR_AXIS

if TYPE_CHECKING:
    from ttfamily.core.mesh import Mesh


def put(
    mesh: Mesh,
    tensor: torch.Tensor,
    *,
    dtype: ttnn.DataType,
    layout: ttnn.Layout = ttnn.TILE_LAYOUT,
    memory_config: ttnn.MemoryConfig = ttnn.DRAM_MEMORY_CONFIG,
    cut: int | None = None,
) -> ttnn.Tensor:
    """Put a host tensor on every device of the mesh, whole or cut along dimension ``cut``.

    :param tensor: any shape; dimension ``cut`` a multiple of the number of devices.
    :returns: a device tensor whose shape is that of one device's part.
    """
    return ttnn.from_torch(
        tensor,
        dtype=dtype,
        layout=layout,
        device=mesh.device,
        memory_config=memory_config,
        mesh_mapper=_mapper(mesh, cut),
    )


def host_copy(
    mesh: Mesh,
    tensor: torch.Tensor,
    *,
    dtype: ttnn.DataType,
    layout: ttnn.Layout = ttnn.ROW_MAJOR_LAYOUT,
    cut: int | None = None,
) -> ttnn.Tensor:
    """Make a host tensor that can be copied into a device tensor of the same layout and cut."""
    return ttnn.from_torch(tensor, dtype=dtype, layout=layout, mesh_mapper=_mapper(mesh, cut))


def integers(mesh: Mesh, tensor: torch.Tensor, dtype: ttnn.DataType) -> ttnn.Tensor:
    """Put token ids, positions or a page table on every device, row-major in DRAM."""
    return put(mesh, tensor, dtype=dtype, layout=ttnn.ROW_MAJOR_LAYOUT)


def write(mesh: Mesh, tensor: torch.Tensor, destination: ttnn.Tensor) -> None:
    """Write host integers into a device tensor of the same shape, in place: its buffer stays where it is."""
    ttnn.copy_host_to_device_tensor(host_copy(mesh, tensor, dtype=destination.dtype), destination)


def read_cut(tensor: ttnn.Tensor, dim: int) -> torch.Tensor:
    """Read a tensor that is cut over the devices along ``dim``, and join the parts."""
    return torch.cat([ttnn.to_torch(part) for part in ttnn.get_device_tensors(tensor)], dim)


def read_replicated(tensor: ttnn.Tensor) -> torch.Tensor:
    """Read a tensor that every device holds whole: the first device's copy."""
    whole: torch.Tensor = ttnn.to_torch(ttnn.get_device_tensors(tensor)[0])
    return whole


def _mapper(mesh: Mesh, cut: int | None) -> ttnn.CppTensorToMesh:
    placements = [ttnn.PlacementReplicate(), ttnn.PlacementReplicate()]
    if cut is not None:
        placements[TENSOR_AXIS] = ttnn.PlacementShard(cut)
    return ttnn.create_mesh_mapper(mesh.device, ttnn.MeshMapperConfig(placements))
