"""Where values cross between host and device: what replaces the transfers that the mock cluster drops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import ttnn

from ttfamily.errors import SimulatorError
from ttfamily.sim.formats import round_to
from ttfamily.sim.placement import shard
from ttfamily.sim.tensor import Cell, SimTensor, cell_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ttfamily.sim.interpreter import Interpreter

    Crossing = Callable[[Interpreter, Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]

CROSSINGS: dict[str, Crossing] = {}


def crossing(name: str) -> Callable[[Crossing], Crossing]:
    """Register what stands in for the ttnn function ``name``."""

    def register(function: Crossing) -> Crossing:
        CROSSINGS[f"ttnn.{name}"] = function
        return function

    return register


@crossing("from_torch")
def from_torch(sim: Interpreter, real: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Allocate on the mock cluster and keep the rounded values; on a dry mesh only allocate.

    A torch tensor on the meta device has a shape and no values, which is all that a dry mesh asks for.
    """
    source, device = args[0], kwargs.get("device")
    dtype = args[1] if len(args) > 1 else kwargs.get("dtype")
    layout = kwargs.get("layout") or ttnn.ROW_MAJOR_LAYOUT
    values = shard(source, kwargs.get("mesh_mapper"), sim.mesh_shape)
    if device is None:
        tensor = real(*args, **kwargs)
    else:
        sim.traces.forbid_host_access("ttnn.from_torch")
        local = ttnn.Shape(list(values.shape[2:]))
        memory = kwargs.get("memory_config") or ttnn.DRAM_MEMORY_CONFIG
        tensor = ttnn.allocate_tensor_on_device(local, dtype, layout, device, memory)
    if not sim.computes:
        return tensor
    return SimTensor.carrying(tensor, Cell(round_to(values, tensor.dtype), tensor.dtype))


@crossing("allocate_tensor_on_device")
def allocate(sim: Interpreter, real: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Allocate; the buffer holds NaN (integers: the largest negative) until something writes it."""
    tensor = real(*args, **kwargs)
    return _filled(sim, tensor, float("nan")) if sim.computes else tensor


@crossing("zeros")
def zeros(sim: Interpreter, real: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Allocate zeros, with memory that the host hands out only as it is written."""
    sim.traces.forbid_host_access("ttnn.zeros")
    del real  # it would make the zeros on host and drop them
    shape = args[0]
    tensor = ttnn.allocate_tensor_on_device(
        ttnn.Shape(list(shape)),
        kwargs.get("dtype") or ttnn.bfloat16,
        kwargs.get("layout") or ttnn.ROW_MAJOR_LAYOUT,
        kwargs["device"],
        kwargs.get("memory_config") or ttnn.DRAM_MEMORY_CONFIG,
    )
    return _filled(sim, tensor, 0) if sim.computes else tensor


@crossing("to_torch")
def to_torch(sim: Interpreter, real: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Read the values back: the whole tensor of a 1x1 mesh or of one device's part."""
    tensor = args[0]
    if not sim.computes:
        raise SimulatorError(
            "ttnn.to_torch",
            got="a tensor of a dry mesh",
            expected="values, which a dry mesh does not compute",
            fix='Open the mesh with device="simulated" (or on hardware).',
        )
    sim.traces.forbid_host_access("ttnn.to_torch")
    if not isinstance(tensor, SimTensor):
        return real(*args, **kwargs)
    value = tensor.cell.read()
    composer = kwargs.get("mesh_composer")
    if composer is not None:
        parts = [ttnn.from_torch(part, dtype=ttnn.float32) for part in _every_device(value, sim.mesh_shape)]
        return real(ttnn.from_host_shards(parts, ttnn.MeshShape(*sim.mesh_shape)), mesh_composer=composer)
    if value.shape[:2] != (1, 1):
        raise SimulatorError(
            "ttnn.to_torch",
            got=f"a tensor that differs over a {sim.mesh_shape[0]}x{sim.mesh_shape[1]} mesh, and no mesh_composer",
            expected="a way to put the parts together",
            fix="Pass mesh_composer=, or read the parts with ttnn.get_device_tensors.",
        )
    return value[0, 0].clone()


@crossing("copy_host_to_device_tensor")
def copy_host_to_device(sim: Interpreter, real: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Write a host tensor into a device buffer; ttnn checks that the two are alike."""
    sim.traces.forbid_host_access("ttnn.copy_host_to_device_tensor")
    real(*args, **kwargs)
    if sim.computes:
        host, device = (cell_of(tensor, "ttnn.copy_host_to_device_tensor") for tensor in args[:2])
        device.value = host.read()


@crossing("deallocate")
def deallocate(sim: Interpreter, real: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Free the buffer and the values with it."""
    real(*args, **kwargs)
    if sim.computes:
        cell = cell_of(args[0], "ttnn.deallocate")

        def free() -> tuple[()]:
            cell.value = None
            return ()

        if sim.traces.capturing:
            sim.traces.record(free, [])
        else:
            free()


def device_tensors(sim: Interpreter, tensor: ttnn.Tensor, real: Callable[..., Any]) -> list[ttnn.Tensor]:
    """Return one tensor a device, each with its own values, in row-major order of the mesh."""
    parts = real(tensor)
    if not isinstance(tensor, SimTensor):
        return list(parts)
    values = _every_device(tensor.cell.read(), sim.mesh_shape)
    return [
        SimTensor.carrying(part, Cell(value[None, None], tensor.cell.dtype))
        for part, value in zip(parts, values, strict=True)
    ]


def _every_device(value: torch.Tensor, mesh_shape: tuple[int, int]) -> list[torch.Tensor]:
    return list(value.expand(*mesh_shape, *value.shape[2:]).flatten(0, 1))


def _filled(sim: Interpreter, tensor: ttnn.Tensor, fill: float) -> SimTensor:
    carrier = round_to(torch.zeros(1, 1), tensor.dtype).dtype
    shape = (*sim.mesh_shape, *tensor.shape)
    if fill == 0 or not carrier.is_floating_point:
        value = torch.zeros(shape, dtype=carrier)
    else:
        value = torch.full(shape, fill, dtype=carrier)
    return SimTensor.carrying(tensor, Cell(value, tensor.dtype))
