"""A tensor's values on every device of a mesh: read to the host, and written over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import ttnn

if TYPE_CHECKING:
    from ttfamily.core.mesh.mesh import Mesh

# What torch compares and computes with, for the formats that ttnn reads as unsigned integers.
UNSIGNED = (torch.uint16, torch.uint32)


def on_device(tensor: ttnn.Tensor) -> bool:
    """Whether a tensor lies on a mesh, and has not been freed."""
    return bool(tensor.storage_type() == ttnn.StorageType.DEVICE and tensor.is_allocated())


def read_devices(tensor: ttnn.Tensor) -> torch.Tensor:
    """Read what each device holds, ``[devices, *local_shape]``, in row-major order of the mesh."""
    parts = [ttnn.to_torch(part) for part in ttnn.get_device_tensors(tensor)]
    stacked = torch.stack(parts)
    return stacked.to(torch.int64) if stacked.dtype in UNSIGNED else stacked


def write_devices(mesh: Mesh, tensor: ttnn.Tensor, values: torch.Tensor) -> None:
    """Write what each device is to hold into the buffer that is there, sharded ones included.

    :param values: ``[devices, *local_shape]``.
    :raises RuntimeError: if ttnn does not write to such a buffer.
    """
    if len(values) == 1:
        joined, mapper = values[0], None
    else:  # the parts of all devices along the first dimension, cut along both axes of the mesh there
        placements = [ttnn.PlacementShard(0), ttnn.PlacementShard(0)]
        joined, mapper = values.flatten(0, 1), ttnn.create_mesh_mapper(mesh.device, ttnn.MeshMapperConfig(placements))
    host = ttnn.from_torch(joined, dtype=tensor.dtype, layout=tensor.layout, mesh_mapper=mapper)
    ttnn.copy_host_to_device_tensor(host, tensor)
