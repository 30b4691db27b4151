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


def alike(values: torch.Tensor, dim: int) -> bool:
    """Whether all places along a dimension hold the same, NaN included."""
    first = values.narrow(dim, 0, 1)
    same = values == first
    if values.is_floating_point():
        same |= values.isnan() & first.isnan()
    return bool(same.all())


def write_devices(mesh: Mesh, tensor: ttnn.Tensor, values: torch.Tensor) -> None:
    """Write what each device is to hold into the buffer that is there, sharded ones included.

    :param values: ``[devices, *local_shape]``.
    :raises RuntimeError: if ttnn does not write to such a buffer, or cannot cut such values over the mesh: those of
        one dimension that differ along both axes.
    """
    joined = values.unflatten(0, mesh.shape)  # [rows, columns, *local_shape]
    placements = []
    for axis, dim in ((0, 0), (1, 1 if values.dim() > 2 and not alike(joined, 0) else 0)):  # noqa: PLR2004
        # The parts of an axis stand one after another in a dimension of the tensor, and are cut apart there again.
        if alike(joined, axis):
            joined = joined.narrow(axis, 0, 1)
            placements.append(ttnn.PlacementReplicate())
        else:
            joined = torch.cat(joined.split(1, axis), dim + 2)
            placements.append(ttnn.PlacementShard(dim))
    mapper = ttnn.create_mesh_mapper(mesh.device, ttnn.MeshMapperConfig(placements))
    host = ttnn.from_torch(joined[0, 0], dtype=tensor.dtype, layout=tensor.layout, mesh_mapper=mapper)
    ttnn.copy_host_to_device_tensor(host, tensor)
