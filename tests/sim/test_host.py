"""Host tensors and the devices' buffers: whatever way values take, they arrive whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
import ttnn

from ttfamily.errors import SimulatorError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ttfamily.testing.operands import Operands

SHAPE = (1, 1, 32, 64)


def mapper(bench: Operands) -> Any:
    return ttnn.ShardTensorToMesh(bench.mesh.device, dim=0)


def composer(bench: Operands) -> Any:
    return ttnn.ConcatMeshToTensor(bench.mesh.device, dim=0)


def values_of(bench: Operands) -> torch.Tensor:
    """Another part for every device, side by side along the first dimension."""
    return torch.randn(bench.mesh.tensor_parallel, *SHAPE[1:], generator=bench.numbers).bfloat16()


def on_device(bench: Operands, values: torch.Tensor) -> ttnn.Tensor:
    return ttnn.from_torch(values, layout=ttnn.TILE_LAYOUT, device=bench.mesh.device, mesh_mapper=mapper(bench))


WAYS: dict[str, Callable[[Operands, torch.Tensor], ttnn.Tensor]] = {
    "to_device": lambda b, v: ttnn.to_device(ttnn.from_torch(v, mesh_mapper=mapper(b)), b.mesh.device),
    "to": lambda b, v: ttnn.from_torch(v, mesh_mapper=mapper(b)).to(b.mesh.device, ttnn.L1_MEMORY_CONFIG),
    "to_layout": lambda b, v: ttnn.from_torch(v, mesh_mapper=mapper(b)).to(ttnn.TILE_LAYOUT).to(b.mesh.device),
    "to_dtype": lambda b, v: ttnn.to_dtype(ttnn.from_torch(v.float(), mesh_mapper=mapper(b)), ttnn.bfloat16),
    "there_and_back": lambda b, v: ttnn.to_device(ttnn.from_device(on_device(b, v)), b.mesh.device),
    "cpu": lambda b, v: on_device(b, v).cpu(),
    "row_major": lambda b, v: on_device(b, v).to(ttnn.ROW_MAJOR_LAYOUT),
    "distribute": lambda b, v: ttnn.distribute_tensor(ttnn.Tensor(v), mapper(b), b.mesh.device),
    "combine": lambda b, v: ttnn.combine_device_tensors(tensors=ttnn.get_device_tensors(on_device(b, v))),
    "from_host_shards": lambda b, v: ttnn.from_host_shards(
        [ttnn.from_torch(part) for part in v.split(1)], ttnn.MeshShape(*b.mesh.shape)
    ).to(b.mesh.device),
    "as_tensor": lambda b, v: ttnn.as_tensor(
        v,
        ttnn.bfloat16,
        layout=ttnn.TILE_LAYOUT,
        device=b.mesh.device,
        memory_config=ttnn.DRAM_MEMORY_CONFIG,
        mesh_mapper=mapper(b),
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_values_arrive_whole(bench: Operands, way: str) -> None:
    values = values_of(bench)
    assert torch.equal(ttnn.to_torch(WAYS[way](bench, values), mesh_composer=composer(bench)), values)


def test_what_one_host_tensor_holds_goes_to_every_device(bench: Operands) -> None:
    values = torch.randn(SHAPE, generator=bench.numbers).bfloat16()
    placed = ttnn.Tensor(values).to(ttnn.TILE_LAYOUT).to(bench.mesh.device)
    assert all(torch.equal(ttnn.to_torch(part), values) for part in ttnn.get_device_tensors(placed))
    assert placed.cell.read().shape[:2] == (1, 1)


@pytest.mark.parametrize("dtype", [ttnn.bfloat8_b, ttnn.uint32, ttnn.uint16, ttnn.int32, ttnn.float32])
def test_every_format_comes_back_from_the_device(bench: Operands, dtype: ttnn.DataType) -> None:
    x = bench.put(torch.arange(32 * 64).reshape(SHAPE).float().to(torch.float32), dtype=dtype, cut=None)
    bench.check(ttnn.to_device(ttnn.from_device(x.tensor), bench.mesh.device), x.local, roundings=0)


@pytest.mark.parametrize("mapped", [True, False])
def test_a_cache_file_gives_what_was_put_into_it(bench: Operands, tmp_path: Path, mapped: bool) -> None:
    values = values_of(bench)
    given = mapper(bench) if mapped else ttnn.ReplicateTensorToMesh(bench.mesh.device)
    for _ in range(2):  # made, then read
        made = ttnn.as_tensor(
            values,
            ttnn.bfloat16,
            layout=ttnn.TILE_LAYOUT,
            device=bench.mesh.device,
            memory_config=ttnn.DRAM_MEMORY_CONFIG,
            cache_file_name=tmp_path / "cached",
            mesh_mapper=given,
        )
        parts = values.split(1) if mapped else [values] * bench.mesh.tensor_parallel
        for got, want in zip(ttnn.get_device_tensors(made), parts, strict=True):
            assert torch.equal(ttnn.to_torch(got), want)


def test_a_dumped_tensor_is_loaded_again(bench: Operands, tmp_path: Path) -> None:
    values, file = values_of(bench), tmp_path / "dumped.tensorbin"
    ttnn.dump_tensor(file, on_device(bench, values))
    for loaded in (ttnn.load_tensor(file), ttnn.load_tensor(file, device=bench.mesh.device)):
        assert torch.equal(ttnn.to_torch(loaded, mesh_composer=composer(bench)), values)


def test_values_can_be_read_by_methods_too(bench: Operands) -> None:
    values = values_of(bench)
    first = ttnn.get_device_tensors(on_device(bench, values))[0]
    assert torch.equal(first.to_torch(), values[:1])
    assert first.to_list() == values[:1].tolist()
    assert ttnn.sum(first).item() == pytest.approx(float(values[:1].float().sum()), rel=2**-8)
    whole = ttnn.aggregate_tensor(on_device(bench, values), composer(bench))
    assert torch.equal(whole.to_torch(), values)


def test_a_reshaped_tensor_has_its_values(bench: Operands) -> None:
    x = bench.random(1, 1, 64, 64, cut=3)
    for made in (x.tensor.reshape(1, 2, 32, 64), x.tensor.reshape((1, 2, 32, 64))):
        bench.check(made, [part.reshape(1, 2, 32, 64) for part in x.local], roundings=0)


def test_a_tensor_freed_by_its_method_cannot_be_read(bench: Operands) -> None:
    x = bench.random(1, 1, 32, 64).tensor
    x.deallocate(True)
    with pytest.raises(SimulatorError, match="deallocated"):
        bench.read(x)


@pytest.mark.parametrize(
    "transfer",
    [
        lambda b, x: ttnn.from_device(x),
        lambda b, x: x.cpu(),
        lambda b, x: ttnn.Tensor(torch.zeros(1, 1, 32, 32)).to(b.mesh.device),
        lambda b, x: ttnn.full((32, 32), 1.0, device=b.mesh.device),
        lambda b, x: ttnn.arange(0, 32, device=b.mesh.device),
    ],
)
def test_a_transfer_in_a_capture_is_refused(bench: Operands, transfer: Callable[..., Any]) -> None:
    x = bench.random(1, 1, 32, 64).tensor
    trace = ttnn.begin_trace_capture(bench.mesh.device, cq_id=0)
    try:
        with pytest.raises(SimulatorError, match="a transfer between host and device inside a trace capture"):
            transfer(bench, x)
    finally:
        ttnn.end_trace_capture(bench.mesh.device, trace, cq_id=0)
        ttnn.release_trace(bench.mesh.device, trace)


def test_copies_that_are_not_simulated_are_refused(bench: Operands) -> None:
    x = bench.random(1, 1, 32, 64).tensor
    with pytest.raises(SimulatorError, match=r"Use ttnn\.from_device"):
        ttnn.copy_device_to_host_tensor(x, ttnn.from_device(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bool, torch.int16, torch.uint8, torch.int64])
def test_a_tensor_without_a_format_gets_ttnns(bench: Operands, dtype: torch.dtype) -> None:
    values = torch.ones(32, 32).to(dtype)
    with bench.plain_ttnn():
        want = ttnn.from_torch(values).dtype
    assert ttnn.from_torch(values, device=bench.mesh.device).dtype == want


def test_a_dtype_at_which_ttnn_ends_the_process_is_refused(bench: Operands) -> None:
    for device in (None, bench.mesh.device):
        with pytest.raises(SimulatorError, match=r"torch\.float64, and no dtype"):
            ttnn.from_torch(torch.zeros(2, 2, dtype=torch.float64), device=device)
    assert ttnn.from_torch(torch.zeros(2, 2, dtype=torch.float64), ttnn.bfloat16).dtype == ttnn.bfloat16


def test_memory_that_nothing_wrote_is_not_a_number(bench: Operands) -> None:
    made = ttnn.empty((32, 32), device=bench.mesh.device)
    assert all(bool(part.isnan().all()) for part in (*bench.read(made), *bench.read(ttnn.empty_like(made))))
