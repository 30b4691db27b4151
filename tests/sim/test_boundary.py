"""Crossing between host and device: the simulated mesh cuts, rounds, joins and reads as ttnn itself does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
import ttnn
from hypothesis import given
from hypothesis import strategies as st

from ttfamily.core.mesh.mesh import TRACE_REGION_BYTES, open_mesh
from ttfamily.core.mesh.placement import Sharding, host_copy, integers, put, read, write
from ttfamily.errors import SimulatorError
from ttfamily.testing.strategies import SEEDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ttfamily.core.mesh.mesh import Mesh
    from ttfamily.testing.operands import Operands

FLOATS = [ttnn.bfloat16, ttnn.float32, ttnn.bfloat8_b, ttnn.bfloat4_b]
INTEGERS = [ttnn.int32, ttnn.uint32, ttnn.uint16, ttnn.uint8]
FORMATS = st.sampled_from([*FLOATS, *INTEGERS])
TILED = (ttnn.bfloat8_b, ttnn.bfloat4_b)


def values(shape: tuple[int, ...], dtype: ttnn.DataType, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    if dtype in INTEGERS:
        return torch.randint(0, 200, shape, dtype=torch.int32, generator=generator)
    return torch.randn(shape, generator=generator)


def layout_of(dtype: ttnn.DataType) -> ttnn.Layout:
    return ttnn.TILE_LAYOUT if dtype in TILED else ttnn.ROW_MAJOR_LAYOUT


def mappers(mesh: Mesh, rank: int) -> dict[str, Any]:
    device, shape = mesh.device, mesh.shape
    one = {f"shard {dim}": ttnn.ShardTensorToMesh(device, dim) for dim in range(-rank, rank)}
    two = {f"2d {dim}": ttnn.ShardTensor2dMesh(device, shape, (None, dim)) for dim in range(rank)}
    placements = {
        f"placements {dim}": ttnn.create_mesh_mapper(
            device, ttnn.MeshMapperConfig([ttnn.PlacementReplicate(), ttnn.PlacementShard(dim)])
        )
        for dim in range(-rank, rank)
    }
    return {"none": None, "replicated": ttnn.ReplicateTensorToMesh(device), **one, **two, **placements}


# ---- host to device


@given(
    shape=st.sampled_from([(2, 4, 32), (2, 2, 32, 64), (6,), (4, 10)]),
    dtype=FORMATS,
    seed=SEEDS,
)
def test_a_mapper_cuts_as_ttnns_own_does_on_host(
    bench: Operands, shape: tuple[int, ...], dtype: ttnn.DataType, seed: int
) -> None:
    source, layout = values(shape, dtype, seed), layout_of(dtype)
    for name, mapper in mappers(bench.mesh, len(shape)).items():
        with bench.plain_ttnn():
            theirs = ttnn.from_torch(source, dtype=dtype, layout=layout, mesh_mapper=mapper)
            want = [ttnn.to_torch(part) for part in bench.interpreter.mesh.split(theirs)]
        host = ttnn.from_torch(source, dtype=dtype, layout=layout, mesh_mapper=mapper)
        placed = ttnn.from_torch(source, dtype=dtype, layout=layout, mesh_mapper=mapper, device=bench.mesh.device)
        got = [ttnn.to_torch(part) for part in ttnn.get_device_tensors(placed)]
        if mapper is None:
            want *= bench.mesh.tensor_parallel
        assert len(got) == len(want), name
        for mine, on_host, wanted in zip(got, ttnn.get_device_tensors(host) * len(got), want, strict=False):
            for part in (mine, ttnn.to_torch(on_host)):
                assert part.dtype == wanted.dtype, name
            assert torch.equal(mine, wanted), name
        assert tuple(placed.shape) == tuple(want[0].shape), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int32, torch.int64, torch.uint8])
def test_without_a_format_ttnns_own_choice_is_made(bench: Operands, dtype: torch.dtype) -> None:
    source = torch.ones(4, 4, dtype=dtype)
    with bench.plain_ttnn():
        want = ttnn.from_torch(source)
    for got in (ttnn.from_torch(source), ttnn.from_torch(source, device=bench.mesh.device)):
        assert (got.dtype, got.layout, got.shape) == (want.dtype, want.layout, want.shape)


@pytest.mark.parametrize("dtype", TILED)
def test_a_block_float_is_tiled_without_being_told(bench: Operands, dtype: ttnn.DataType) -> None:
    assert ttnn.from_torch(torch.ones(4, 4), dtype=dtype, device=bench.mesh.device).layout == ttnn.TILE_LAYOUT


@pytest.mark.tt_meshes("n300")
def test_a_cut_into_unequal_parts_is_refused(bench: Operands) -> None:
    for device in (None, bench.mesh.device):
        with pytest.raises((SimulatorError, RuntimeError), match=r"a multiple of 2|Shard shape mismatch"):
            ttnn.from_torch(torch.ones(3, 4), mesh_mapper=ttnn.ShardTensorToMesh(bench.mesh.device, 0), device=device)


def test_a_tensor_without_values_is_refused(bench: Operands) -> None:
    with pytest.raises(SimulatorError, match="meta device"):
        put(bench.mesh, torch.empty(32, 32, device="meta"), dtype=ttnn.bfloat16)


def test_a_host_table_that_changes_later_does_not_change_what_was_written(bench: Operands) -> None:
    table = torch.zeros(2, 3, dtype=torch.int32)
    placed, other = integers(bench.mesh, table, ttnn.int32), integers(bench.mesh, table, ttnn.int32)
    write(bench.mesh, table, other)
    table += 1
    for tensor in (placed, other):
        assert not read(bench.mesh, tensor).any()
    write(bench.mesh, table, placed)
    assert read(bench.mesh, placed).all()
    assert not read(bench.mesh, other).any()


def test_a_write_in_place_does_not_reach_the_host_tensor_that_was_copied(bench: Operands) -> None:
    cache, new = bench.random(4, 1, 32, 64), bench.random(1, 1, 32, 64)
    host = ttnn.from_torch(
        torch.ones(4, 1, 32, 64, dtype=torch.bfloat16),
        layout=ttnn.TILE_LAYOUT,
        mesh_mapper=ttnn.ReplicateTensorToMesh(bench.mesh.device),
    )
    ttnn.copy_host_to_device_tensor(host, cache.tensor)
    table = integers(bench.mesh, torch.tensor([[2]], dtype=torch.int32), ttnn.int32)
    ttnn.experimental.paged_fill_cache(cache.tensor, new.tensor, table, batch_idx=0)
    assert (read(bench.mesh, host) == 1).all()
    want = [torch.cat([torch.ones(2, 1, 32, 64), x.float(), torch.ones(1, 1, 32, 64)]) for x in new.local]
    bench.check(cache.tensor, want, roundings=0)


def test_a_write_must_fit_its_destination(bench: Operands) -> None:
    placed = integers(bench.mesh, torch.zeros(4, dtype=torch.int32), ttnn.int32)
    for wrong in (
        host_copy(bench.mesh, torch.zeros(5, dtype=torch.int32), dtype=ttnn.int32),
        host_copy(bench.mesh, torch.zeros(4, dtype=torch.int32), dtype=ttnn.uint32),
    ):
        with pytest.raises(RuntimeError, match=r"different (shape|dtype)"):
            ttnn.copy_host_to_device_tensor(wrong, placed)
    assert not read(bench.mesh, placed).any()


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS])
def test_memory_that_nobody_wrote_holds_nothing_useful(bench: Operands, dtype: ttnn.DataType) -> None:
    layout = layout_of(dtype)
    x = ttnn.allocate_tensor_on_device(ttnn.Shape([32, 32]), dtype, layout, bench.mesh.device)
    for part in ttnn.get_device_tensors(x):
        read = ttnn.to_torch(part)
        if dtype in FLOATS:
            assert read.isnan().all()
        elif dtype != ttnn.uint8:
            carrier = part.cell.read()
            assert (carrier == torch.iinfo(torch.int32).min).all()


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS])
def test_zeros(bench: Operands, dtype: ttnn.DataType) -> None:
    before = bench.mesh.dram_bytes()[0]
    on_device = ttnn.zeros([2, 64, 32], dtype, layout_of(dtype), bench.mesh.device)
    assert bench.mesh.dram_bytes()[0] > before
    for part in [*ttnn.get_device_tensors(on_device), ttnn.zeros([2, 64, 32], dtype=dtype, layout=layout_of(dtype))]:
        read = ttnn.to_torch(part)
        assert (tuple(read.shape), part.dtype) == ((2, 64, 32), dtype)
        assert not read.float().any()


# ---- device to host


@given(dim=st.integers(-3, 2), dtype=FORMATS, seed=SEEDS)
def test_a_composer_gives_back_what_the_mapper_cut(bench: Operands, dim: int, dtype: ttnn.DataType, seed: int) -> None:
    source, mesh = values((2, 4, 64), dtype, seed), bench.mesh
    mapper, composer = ttnn.ShardTensorToMesh(mesh.device, dim), ttnn.ConcatMeshToTensor(mesh.device, dim)
    with bench.plain_ttnn():
        theirs = ttnn.from_torch(source, dtype=dtype, layout=layout_of(dtype), mesh_mapper=mapper)
        want = ttnn.to_torch(theirs, mesh_composer=composer)
    for device in (None, mesh.device):
        tensor = ttnn.from_torch(source, dtype=dtype, layout=layout_of(dtype), mesh_mapper=mapper, device=device)
        got = ttnn.to_torch(tensor, mesh_composer=composer)
        assert got.dtype == want.dtype
        assert torch.equal(got, want)


def test_a_composer_joins_the_copies_of_a_replicated_tensor(bench: Operands) -> None:
    x = put(bench.mesh, torch.arange(4, dtype=torch.int32), dtype=ttnn.int32, layout=ttnn.ROW_MAJOR_LAYOUT)
    got = ttnn.to_torch(x, mesh_composer=ttnn.ConcatMeshToTensor(bench.mesh.device, 0))
    assert got.tolist() == list(range(4)) * bench.mesh.tensor_parallel


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS])
def test_a_read_has_the_torch_dtype_that_ttnn_gives(bench: Operands, dtype: ttnn.DataType) -> None:
    source = values((32, 32), dtype, 0)
    with bench.plain_ttnn():
        want = ttnn.to_torch(ttnn.from_torch(source, dtype=dtype, layout=layout_of(dtype)))
    got = read(bench.mesh, put(bench.mesh, source, dtype=dtype, layout=layout_of(dtype)))
    assert got.dtype == want.dtype
    assert torch.equal(got, want)


def test_a_read_converts_to_the_dtype_that_is_asked_for(bench: Operands) -> None:
    part = ttnn.get_device_tensors(bench.random(1, 1, 32, 32).tensor)[0]
    assert ttnn.to_torch(part, torch.float64).dtype == torch.float64


def test_what_is_read_is_a_copy(bench: Operands) -> None:
    x = bench.random(1, 1, 32, 32)
    for part in ttnn.get_device_tensors(x.tensor):
        ttnn.to_torch(part).zero_()
    bench.check(x.tensor, x.local, roundings=0)


@pytest.mark.tt_meshes("n300")
@pytest.mark.parametrize("cut", [None, 3])
def test_a_tensor_on_many_devices_is_not_read_without_a_composer(bench: Operands, cut: int | None) -> None:
    with pytest.raises(SimulatorError, match="no mesh_composer"):
        ttnn.to_torch(bench.random(1, 1, 32, 32, cut=cut).tensor)


def test_parts_come_in_the_order_of_the_devices(bench: Operands) -> None:
    x = put(
        bench.mesh,
        torch.arange(2.0 * bench.mesh.tensor_parallel)[None],
        dtype=ttnn.float32,
        sharding=Sharding(tensor=1),
    )
    assert read(bench.mesh, x, Sharding(tensor=1)).tolist() == [list(range(2 * bench.mesh.tensor_parallel))]


# ---- a dry mesh (these take no mesh of the session's, so they run before it is open)


@pytest.fixture(params=["n150", "n300"])
def dry(request: pytest.FixtureRequest) -> Iterator[Mesh]:
    opened = open_mesh(request.param, "dry")
    yield opened
    opened.close()


def test_a_dry_mesh_takes_tensors_without_values(dry: Mesh) -> None:
    empty = torch.empty(1, 1, 64, 64 * dry.tensor_parallel, device="meta")
    x = put(dry, empty, dtype=ttnn.bfloat8_b, sharding=Sharding(tensor=3))
    assert tuple(x.shape) == (1, 1, 64, 64)
    assert ttnn.matmul(x, x).shape == x.shape


def test_a_dry_mesh_counts_what_is_allocated(dry: Mesh) -> None:
    before, total = dry.dram_bytes()
    x = put(dry, torch.empty(1, 1, 1024, 1024, device="meta"), dtype=ttnn.bfloat16)
    assert dry.dram_bytes()[0] - before == pytest.approx(2 * 1024 * 1024, rel=0.05)
    y = ttnn.add(x, x)
    assert dry.dram_bytes()[0] - before == pytest.approx(4 * 1024 * 1024, rel=0.05)
    ttnn.deallocate(x), ttnn.deallocate(y)
    assert dry.dram_bytes() == (before, total)
    # The trace region lies in all 12 banks, in whole pages of each.
    assert 0 <= 12 * 1_072_693_184 - TRACE_REGION_BYTES - total < 12 * 4096


def test_a_dry_mesh_runs_out_of_memory_as_ttnn_does(dry: Mesh) -> None:
    with pytest.raises(RuntimeError, match="Out of Memory"):
        put(dry, torch.empty(1, 1, 2**17, 2**17, device="meta"), dtype=ttnn.bfloat16)


def test_a_dry_mesh_is_checked_by_ttnn_and_reads_nothing(dry: Mesh) -> None:
    x = put(dry, torch.ones(1, 1, 32, 64), dtype=ttnn.bfloat16)
    with pytest.raises(RuntimeError, match="TT_FATAL"):
        ttnn.matmul(x, x)
    for tensor in (x, ttnn.get_device_tensors(x)[0], ttnn.sin(x)):  # an op needs no kernel where nothing is computed
        with pytest.raises(SimulatorError, match="dry mesh"):
            ttnn.to_torch(tensor)


def test_a_dry_mesh_keeps_the_rules_of_a_trace(dry: Mesh) -> None:
    x = put(dry, torch.empty(1, 1, 32, 96, device="meta"), dtype=ttnn.bfloat16)
    trace = ttnn.begin_trace_capture(dry.device, cq_id=0)
    with pytest.raises(SimulatorError, match="compiled inside a trace capture"):
        ttnn.multiply(x, 7.0)
    with pytest.raises(SimulatorError, match="inside a trace capture"):
        put(dry, torch.empty(32, 32, device="meta"), dtype=ttnn.bfloat16)
    ttnn.end_trace_capture(dry.device, trace, cq_id=0)
    ttnn.execute_trace(dry.device, trace, cq_id=0, blocking=True)
    ttnn.release_trace(dry.device, trace)
