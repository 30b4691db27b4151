"""Host tensors: their values are in their own buffers, as everywhere; what moves them to the mock cluster and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ttnn

from ttfamily.errors import SimulatorError
from ttfamily.sim import boundary
from ttfamily.sim.formats import as_host
from ttfamily.sim.row import crossing
from ttfamily.sim.tensor import Cell, SimTensor, cell_of, is_on_device

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import torch

    from ttfamily.sim.mock_mesh import MockMesh


@crossing("to_device")
def to_device(
    mesh: MockMesh,
    real: Callable[..., Any],
    tensor: ttnn.Tensor,
    device: ttnn.MeshDevice,
    memory_config: ttnn.MemoryConfig | None = None,
    *,
    queue_id: int | None = None,
) -> ttnn.Tensor:
    """Write a host tensor to the mesh: each shard to its device, a single one to all."""
    mesh.traces.forbid_host_access("ttnn.to_device")
    placed = real(tensor, device, memory_config, queue_id=queue_id)
    if not mesh.computes:
        return placed
    cell = cell_of(tensor, "ttnn.to_device")
    if is_on_device(tensor) and placed.buffer_unique_id() == tensor.buffer_unique_id():
        return tensor  # it was there
    cell.shared = True
    return SimTensor.carrying(placed, Cell(cell.read(), placed.dtype, shared=True))


@crossing("from_device")
def from_device(
    mesh: MockMesh, real: Callable[..., Any], tensor: ttnn.Tensor, blocking: bool = True, *, queue_id: int | None = None
) -> ttnn.Tensor:
    """Read a tensor back as a host tensor with a shard for every device."""
    if not is_on_device(tensor) or not mesh.computes:
        return real(tensor, blocking, queue_id=queue_id)
    mesh.traces.forbid_host_access("ttnn.from_device")
    value = as_host(cell_of(tensor, "ttnn.from_device").read(), tensor.dtype)
    if len(mesh.split(tensor)) == 1:
        return _host_shard(value[0, 0], tensor)
    parts = boundary.every_device(value, mesh.shape)
    return ttnn.from_host_shards([_host_shard(part, tensor) for part in parts], ttnn.MeshShape(*mesh.shape))


def _host_shard(values: torch.Tensor, like: ttnn.Tensor) -> ttnn.Tensor:
    return ttnn.from_torch(values.contiguous(), like.dtype, layout=like.layout, tile=like.tile)


@crossing("as_tensor")
def as_tensor(
    mesh: MockMesh,
    real: Callable[..., Any],
    tensor: torch.Tensor,
    dtype: ttnn.DataType | None = None,
    *,
    layout: ttnn.Layout | None = ttnn.ROW_MAJOR_LAYOUT,
    device: ttnn.MeshDevice | None = None,
    memory_config: ttnn.MemoryConfig | None = None,
    cache_file_name: str | Path | None = None,
    preprocess: Callable[[torch.Tensor], torch.Tensor] | None = None,
    mesh_mapper: Any = None,
) -> ttnn.Tensor:
    """``from_torch``, with a file of ttnn's own format as a cache for what it made."""
    if device is not None and memory_config is None:
        raise RuntimeError("memory_config must be specified when device is specified")  # as ttnn has it
    if cache_file_name is None:
        ready = tensor if preprocess is None else preprocess(tensor)
        plain = ttnn.from_torch  # a nested call goes to ttnn
        return boundary.from_torch(
            mesh,
            plain,
            ready,
            dtype,
            layout=layout,
            device=device,
            memory_config=memory_config,
            mesh_mapper=mesh_mapper,
        )
    host = real(
        tensor, dtype, layout=layout, cache_file_name=cache_file_name, preprocess=preprocess, mesh_mapper=mesh_mapper
    )
    return host if device is None else to_device(mesh, ttnn.to_device, host, device, memory_config)


@crossing("load_tensor")
def load_tensor(
    mesh: MockMesh, real: Callable[..., Any], file_name: str | Path, *, device: ttnn.MeshDevice | None = None
) -> ttnn.Tensor:
    """Read a tensor from a file, to the host and then to the mesh."""
    host = real(file_name)
    return host if device is None else to_device(mesh, ttnn.to_device, host, device)


@crossing("dump_tensor")
def dump_tensor(
    mesh: MockMesh, real: Callable[..., Any], file_name: str | Path, tensor: ttnn.Tensor, **how: Any
) -> None:
    """Write a tensor to a file."""
    real(file_name, from_device(mesh, ttnn.from_device, tensor), **how)


@crossing("copy_device_to_host_tensor")
def copy_device_to_host(mesh: MockMesh, real: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """Refuse: a host tensor's buffer cannot be written from Python."""
    if not mesh.computes:
        real(*args, **kwargs)
        return
    raise _not_simulated("ttnn.copy_device_to_host_tensor", "Use ttnn.from_device, or ttnn.to_torch.")


@crossing("copy_host_to_device_tensor_partial")
def copy_partly(mesh: MockMesh, real: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """Refuse: which values a core's shard holds is not simulated."""
    if not mesh.computes:
        real(*args, **kwargs)
        return
    raise _not_simulated("ttnn.copy_host_to_device_tensor_partial", "Use ttnn.copy_host_to_device_tensor.")


def _not_simulated(who: str, fix: str) -> SimulatorError:
    return SimulatorError(
        who, got="a copy that the simulated mesh does not follow", expected="one of a whole tensor", fix=fix
    )
