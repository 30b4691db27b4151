"""What each device holds is read and written over, whatever the tensor's format, and however it differs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
import ttnn

from ttfamily.core.layout.programs import Programs
from ttfamily.verify.values import on_device, read_devices, write_devices

if TYPE_CHECKING:
    from ttfamily.core.mesh.mesh import Mesh

TENSORS = {
    "bfloat16": ((1, 2, 33, 40), ttnn.bfloat16, ttnn.TILE_LAYOUT),
    "bfloat8_b": ((3, 2, 33, 64), ttnn.bfloat8_b, ttnn.TILE_LAYOUT),
    "rows": ((1, 7, 33), ttnn.bfloat16, ttnn.ROW_MAJOR_LAYOUT),
    "ids": ((2, 8), ttnn.uint32, ttnn.ROW_MAJOR_LAYOUT),
    "positions": ((8,), ttnn.int32, ttnn.ROW_MAJOR_LAYOUT),
}


def values(mesh: Mesh, shape: tuple[int, ...], dtype: ttnn.DataType, *, alike: bool) -> torch.Tensor:
    devices = mesh.shape[0] * mesh.shape[1]
    whole = torch.randint(0, 100, (1 if alike else devices, *shape), generator=torch.Generator().manual_seed(1))
    every = whole.expand(devices, *shape)
    return every.to({ttnn.uint32: torch.int64, ttnn.int32: torch.int32}.get(dtype, torch.float32))


@pytest.mark.parametrize("alike", [True, False])
@pytest.mark.parametrize("name", TENSORS)
def test_what_is_written_is_read(mesh: Mesh, name: str, alike: bool) -> None:
    shape, dtype, layout = TENSORS[name]
    tensor = ttnn.zeros(list(shape), dtype=dtype, layout=layout, device=mesh.device)
    want = values(mesh, shape, dtype, alike=alike)
    write_devices(mesh, tensor, want)
    assert torch.equal(read_devices(tensor).to(want.dtype), want)


def test_a_sharded_tensor_stays_where_it_is(mesh: Mesh) -> None:
    memory = Programs(mesh).spread_out(512)
    x = ttnn.zeros([1, 1, 32, 512], dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=mesh.device)
    sharded = ttnn.to_memory_config(x, memory)
    address = sharded.buffer_address()
    want = values(mesh, (1, 1, 32, 512), ttnn.bfloat16, alike=False)
    write_devices(mesh, sharded, want)
    assert torch.equal(read_devices(sharded).float(), want)
    assert sharded.buffer_address() == address
    assert sharded.memory_config() == memory


def test_a_tensor_on_the_host_and_one_that_was_freed_are_not_on_the_device(mesh: Mesh) -> None:
    host = ttnn.from_torch(torch.zeros(2, 2))
    device = ttnn.zeros([1, 1, 32, 32], dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=mesh.device)
    assert (on_device(host), on_device(device)) == (False, True)
    ttnn.deallocate(device)
    assert not on_device(device)
