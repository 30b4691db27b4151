"""Where values cross between host and device: what replaces the transfers that the mock cluster drops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import ttnn

from ttfamily.errors import SimulatorError
from ttfamily.sim.formats import CARRIER, as_host, round_to
from ttfamily.sim.kernel_call import same_memory
from ttfamily.sim.memory import caller
from ttfamily.sim.placement import shard
from ttfamily.sim.row import crossing
from ttfamily.sim.tensor import Cell, Part, SimTensor, cell_of, is_on_device

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ttfamily.sim.mock_mesh import MockMesh

# What ttnn stores a torch tensor as when no format is named; at any other it ends the process.
DEFAULT_FORMAT = {
    torch.float32: ttnn.float32,
    torch.bfloat16: ttnn.bfloat16,
    torch.float16: ttnn.bfloat16,
    torch.int32: ttnn.int32,
    torch.int64: ttnn.uint32,
    torch.uint32: ttnn.uint32,
    torch.int16: ttnn.uint16,
    torch.uint16: ttnn.uint16,
    torch.uint8: ttnn.uint8,
    torch.bool: ttnn.uint8,
}
TILED_FORMATS = (ttnn.bfloat8_b, ttnn.bfloat4_b)


@crossing("from_torch")
def from_torch(
    mesh: MockMesh,
    real: Callable[..., Any],
    tensor: torch.Tensor,
    dtype: ttnn.DataType | None = None,
    *,
    layout: ttnn.Layout | None = None,
    device: ttnn.MeshDevice | None = None,
    memory_config: ttnn.MemoryConfig | None = None,
    mesh_mapper: Any = None,
    pad_value: float | None = None,
    cq_id: int | None = None,  # noqa: ARG001  (which queue, never what)
) -> ttnn.Tensor:
    """Allocate on the mock cluster and keep the rounded values; on a dry mesh only allocate.

    A torch tensor on the meta device has a shape and no values, which is all that a dry mesh asks for.
    Floats in the device's own format are not copied (they are weights); integers are, since a host
    table goes on changing after it was written.
    """
    if dtype is None and tensor.dtype not in DEFAULT_FORMAT:
        raise SimulatorError(
            "ttnn.from_torch",
            got=f"a tensor of {tensor.dtype}, and no dtype",
            expected=f"dtype=, or one of {', '.join(sorted(str(known) for known in DEFAULT_FORMAT))}",
            fix="Name the format: ttnn 0.81 ends the process here.",
        )
    if device is None:
        placed = real(
            tensor, dtype, layout=layout, memory_config=memory_config, mesh_mapper=mesh_mapper, pad_value=pad_value
        )
        values = shard(tensor, mesh_mapper, mesh.shape)
    else:
        mesh.traces.forbid_host_access("ttnn.from_torch")
        if mesh.computes and tensor.is_meta:
            raise SimulatorError(
                "ttnn.from_torch",
                got="a tensor on the meta device, which has no values",
                expected="values to compute with",
                fix='Load them, or open the mesh with device="dry".',
            )
        values = shard(tensor, mesh_mapper, mesh.shape)
        dtype = dtype or DEFAULT_FORMAT[tensor.dtype]
        placed = _allocate(values.shape[2:], dtype, layout, device, memory_config)
    if not mesh.computes and (tensor.is_meta or tensor.is_floating_point()):
        return placed  # the host's integers stay known: where a chunk starts says what attention reads
    if device is None and placed.dtype not in CARRIER:
        return placed
    rounded = round_to(values, placed.dtype)
    cell = Cell(rounded, placed.dtype, shared=same_memory(rounded, tensor))
    if cell.shared and not rounded.is_floating_point():
        cell.own(*rounded.shape[:2])
    return SimTensor.carrying(placed, cell)


@crossing("allocate_tensor_on_device")
def allocate(
    mesh: MockMesh,
    real: Callable[..., Any],
    shape: ttnn.Shape,
    dtype: ttnn.DataType,
    layout: ttnn.Layout,
    mesh_device: ttnn.MeshDevice,
    memory_config: ttnn.MemoryConfig | None = None,
) -> ttnn.Tensor:
    """Allocate; the buffer holds NaN (integers: the smallest of the carrier) until something writes it."""
    return unwritten(mesh, real(shape, dtype, layout, mesh_device, memory_config))


@crossing("zeros")
def zeros(
    mesh: MockMesh,
    real: Callable[..., Any],
    shape: Sequence[int],
    dtype: ttnn.DataType | None = None,
    layout: ttnn.Layout | None = None,
    device: ttnn.MeshDevice | None = None,
    memory_config: ttnn.MemoryConfig | None = None,
) -> ttnn.Tensor:
    """Allocate zeros, with memory that the host hands out only as it is written."""
    if device is None:
        tensor = real(shape, dtype=dtype, layout=layout)
    else:  # ttnn's own would make the zeros on host and drop them
        mesh.traces.forbid_host_access("ttnn.zeros")
        tensor = _allocate(shape, dtype or ttnn.bfloat16, layout, device, memory_config)
    return _filled(mesh, tensor, 0) if mesh.computes else tensor


@crossing("to_torch")
def to_torch(
    mesh: MockMesh,
    real: Callable[..., Any],
    tensor: ttnn.Tensor,
    dtype: torch.dtype | None = None,
    *,
    torch_rank: int | None = None,
    mesh_composer: Any = None,
    device: ttnn.MeshDevice | None = None,  # noqa: ARG001  (where ttnn would change the layout)
    cq_id: int | None = None,  # noqa: ARG001
) -> torch.Tensor:
    """Read the values back: the whole tensor of a 1x1 mesh or of one device's part."""
    if not is_on_device(tensor):
        on_host: torch.Tensor = real(tensor, dtype, torch_rank=torch_rank, mesh_composer=mesh_composer)
        return on_host
    if not mesh.computes:
        raise SimulatorError(
            "ttnn.to_torch",
            got="a tensor of a dry mesh",
            expected="values, which a dry mesh does not compute",
            fix='Open the mesh with device="simulated" (or on hardware).',
        )
    mesh.traces.forbid_host_access("ttnn.to_torch")
    cell = cell_of(tensor, "ttnn.to_torch")
    if not tensor.is_allocated():
        cell.value = None  # freed through another shape of the same buffer
    value = as_host(cell.read(), cell.dtype)
    if mesh_composer is not None:
        parts = [ttnn.from_torch(part.contiguous()) for part in every_device(value, mesh.shape)]
        out = real(ttnn.from_host_shards(parts, ttnn.MeshShape(*mesh.shape)), mesh_composer=mesh_composer)
    elif len(mesh.split(tensor)) == 1:
        out = value[0, 0].clone()
    else:
        raise SimulatorError(
            "ttnn.to_torch",
            got=f"a tensor on every device of a {mesh.shape[0]}x{mesh.shape[1]} mesh, and no mesh_composer",
            expected="a mesh_composer, which says how to put the parts together",
            fix="Pass mesh_composer=, or read the parts with ttnn.get_device_tensors.",
        )
    while torch_rank is not None and out.dim() > torch_rank:
        if out.shape[0] != 1:
            raise RuntimeError("ttnn: Unable to squeeze to desired rank!")  # as ttnn has it
        out = out.squeeze(0)
    result: torch.Tensor = out if dtype is None else out.to(dtype)
    return result


@crossing("copy_host_to_device_tensor")
def copy_host_to_device(
    mesh: MockMesh,
    real: Callable[..., Any],
    host_tensor: ttnn.Tensor,
    device_tensor: ttnn.Tensor,
    cq_id: int | None = None,
) -> None:
    """Write a host tensor into a device buffer; ttnn checks that the two are alike."""
    mesh.traces.forbid_host_access("ttnn.copy_host_to_device_tensor")
    real(host_tensor, device_tensor, cq_id)
    if mesh.computes:
        host, device = (cell_of(tensor, "ttnn.copy_host_to_device_tensor") for tensor in (host_tensor, device_tensor))
        device.write(host.read())
        host.shared = device.shared = True


@crossing("deallocate")
def deallocate(mesh: MockMesh, real: Callable[..., Any], tensor: ttnn.Tensor, force: bool = True) -> None:
    """Free the buffer and the values with it; in a trace, after every replay."""
    real(tensor, force)
    if mesh.computes:
        cell = cell_of(tensor, "ttnn.deallocate").whole
        cell.freed = caller()

        def free() -> None:
            cell.value = None

        mesh.traces.perform(free)


def device_tensors(mesh: MockMesh, tensor: ttnn.Tensor) -> list[ttnn.Tensor]:
    """Return one tensor a device, each with its own values, in row-major order of the mesh."""
    parts = list(mesh.split(tensor))
    if not mesh.computes:
        return parts
    cell = cell_of(tensor, "ttnn.get_device_tensors")
    if len(parts) == 1:
        return [SimTensor.carrying(parts[0], cell)]
    columns = mesh.shape[1]
    return [SimTensor.carrying(part, Part(cell, *divmod(i, columns))) for i, part in enumerate(parts)]


def combine(mesh: MockMesh, real: Callable[..., Any], tensors: Sequence[ttnn.Tensor]) -> ttnn.Tensor:
    """Put the parts of a tensor together again: each lies where it lay, whatever the order.

    :raises SimulatorError: if they are not the parts of one tensor.
    """
    whole = real(tensors=list(tensors))
    if not mesh.computes:
        return whole
    cells = [cell_of(tensor, "ttnn.combine_device_tensors") for tensor in tensors]
    wholes = [cell.whole for cell in cells]
    if len(tensors) != len(mesh.split(whole)) or any(other is not wholes[0] for other in wholes):
        raise SimulatorError(
            "ttnn.combine_device_tensors",
            got="tensors that are not the parts of one tensor",
            expected="what ttnn.get_device_tensors returned",
            fix="Pass all parts of one tensor.",
        )
    return SimTensor.carrying(whole, wholes[0])


def _allocate(
    shape: Sequence[int],
    dtype: ttnn.DataType,
    layout: ttnn.Layout | None,
    device: ttnn.MeshDevice,
    memory_config: ttnn.MemoryConfig | None,
) -> ttnn.Tensor:
    layout = layout or (ttnn.TILE_LAYOUT if dtype in TILED_FORMATS else ttnn.ROW_MAJOR_LAYOUT)
    memory = memory_config or ttnn.DRAM_MEMORY_CONFIG
    return ttnn.allocate_tensor_on_device(ttnn.Shape(list(shape)), dtype, layout, device, memory)


def unwritten(mesh: MockMesh, tensor: ttnn.Tensor) -> ttnn.Tensor:
    """Make a new buffer hold NaN (integers: the smallest of the carrier): reading it before it is written shows."""
    if not mesh.computes or not is_on_device(tensor):
        return tensor
    carrier = CARRIER[tensor.dtype]
    return _filled(mesh, tensor, float("nan") if carrier.is_floating_point else torch.iinfo(carrier).min)


def every_device(value: torch.Tensor, mesh_shape: tuple[int, int]) -> list[torch.Tensor]:
    """Return the local values of each device, in row-major order of the mesh."""
    return list(value.expand(*mesh_shape, *value.shape[2:]).flatten(0, 1))


def _filled(mesh: MockMesh, tensor: ttnn.Tensor, fill: float) -> SimTensor:
    shape, carrier = (*mesh.shape, *tensor.shape), CARRIER[tensor.dtype]
    value = torch.full(shape, fill, dtype=carrier) if fill else torch.zeros(shape, dtype=carrier)
    return SimTensor.carrying(tensor, Cell(value, tensor.dtype))
