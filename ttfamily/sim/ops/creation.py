"""Tensors that the host fills: ttnn makes them there and writes them, so no program runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ttnn

from ttfamily.sim import boundary
from ttfamily.sim.formats import round_to
from ttfamily.sim.golden.kernel import golden_kernel
from ttfamily.sim.row import crossing
from ttfamily.sim.tensor import Cell, SimTensor, is_on_device

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ttfamily.sim.mock_mesh import MockMesh


def _written_by_host(name: str) -> None:
    def create(mesh: MockMesh, real: Callable[..., Any], *args: Any, **kwargs: Any) -> ttnn.Tensor:
        tensor = real(*args, **kwargs)
        if not is_on_device(tensor):
            return tensor
        mesh.traces.forbid_host_access(f"ttnn.{name}")
        if not mesh.computes:
            return tensor
        given = kwargs.get("output_tensor")
        (values,) = golden_kernel(f"ttnn.{name}", args, kwargs)()
        value = round_to(values, tensor.dtype)
        if isinstance(given, SimTensor):
            given.cell.write(value)
            return SimTensor.carrying(tensor, given.cell)
        return SimTensor.carrying(tensor, Cell(value, tensor.dtype))

    create.__name__ = name
    crossing(name)(create)


for _name in ("arange", "full", "ones"):
    _written_by_host(_name)


@crossing("empty")
def empty(
    mesh: MockMesh,
    real: Callable[..., Any],
    shape: Sequence[int],
    dtype: ttnn.DataType = ttnn.bfloat16,
    layout: ttnn.Layout = ttnn.ROW_MAJOR_LAYOUT,
    device: ttnn.MeshDevice | None = None,
    memory_config: ttnn.MemoryConfig = ttnn.DRAM_MEMORY_CONFIG,
) -> ttnn.Tensor:
    """Allocate; what the buffer holds is NaN, as of ``allocate_tensor_on_device``."""
    tensor = real(shape, dtype, layout, device, memory_config)
    return boundary.unwritten(mesh, tensor)


@crossing("empty_like")
def empty_like(mesh: MockMesh, real: Callable[..., Any], tensor: ttnn.Tensor, **kwargs: Any) -> ttnn.Tensor:
    """Allocate a buffer like another tensor's; what it holds is NaN."""
    return boundary.unwritten(mesh, real(tensor, **kwargs))
