"""Trace capture and replay: a capture computes nothing, a replay computes everything, on what the inputs hold then."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest
import torch
import ttnn

from ttfamily.core.layout.programs import Programs
from ttfamily.core.mesh.placement import host_copy, integers, write
from ttfamily.errors import SimulatorError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ttfamily.core.mesh.mesh import Mesh
    from ttfamily.testing.operands import Operands


@contextlib.contextmanager
def capturing(mesh: Mesh) -> Iterator[int]:
    """An open capture; it is ended whatever happens."""
    trace = ttnn.begin_trace_capture(mesh.device, cq_id=0)
    try:
        yield trace
    finally:
        ttnn.end_trace_capture(mesh.device, trace, cq_id=0)


@pytest.fixture(autouse=True)
def _no_trace_outlives_its_test(bench: Operands) -> Iterator[None]:
    yield
    for trace in bench.interpreter.mesh.traces.alive:
        ttnn.release_trace(bench.mesh.device, trace)


def replay(mesh: Mesh, trace: int) -> None:
    ttnn.execute_trace(mesh.device, trace, cq_id=0, blocking=False)


def captured(mesh: Mesh, function: Callable[[], Any]) -> tuple[int, Any]:
    """Compile ``function``'s ops, then capture them."""
    function()
    with capturing(mesh) as trace:
        result = function()
    return trace, result


def rows(value: float) -> torch.Tensor:
    return torch.full((1, 1, 32, 32), value)


def fresh(bench: Operands, tensor: ttnn.Tensor, values: torch.Tensor) -> None:
    """Write tiles into a device tensor, as :func:`ttfamily.core.mesh.placement.write` writes integers."""
    host = ttnn.from_torch(
        values, dtype=tensor.dtype, layout=ttnn.TILE_LAYOUT, mesh_mapper=ttnn.ReplicateTensorToMesh(bench.mesh.device)
    )
    ttnn.copy_host_to_device_tensor(host, tensor)


# ---- what a replay does


def test_a_replay_computes_on_what_the_inputs_hold_then(bench: Operands) -> None:
    x = bench.put(rows(1.0)).tensor
    trace, y = captured(bench.mesh, lambda: ttnn.add(x, 1.0))
    for value in (5.0, -3.0):
        fresh(bench, x, rows(value))
        replay(bench.mesh, trace)
        bench.check(y, [rows(value + 1)] * bench.mesh.tensor_parallel, roundings=0)


def test_a_replay_is_what_the_ops_give_one_by_one(bench: Operands) -> None:
    mesh, programs = bench.mesh, Programs(bench.mesh)
    devices = mesh.tensor_parallel
    x, w, gamma = bench.random(1, 1, 32, 64), bench.random(1, 1, 64, 64, cut=3), bench.random(1, 1, 1, 64)
    cache = bench.random(4, 1, 32, 64)
    table = integers(mesh, torch.tensor([[2, 1]], dtype=torch.int32), ttnn.int32)
    position = integers(mesh, torch.tensor([0], dtype=torch.int32), ttnn.int32)

    def step() -> ttnn.Tensor:
        h = ttnn.linear(ttnn.rms_norm(x.tensor, epsilon=1e-5, weight=gamma.tensor), w.tensor)
        total = ttnn.all_reduce(h, cluster_axis=1) if devices > 1 else h
        ttnn.deallocate(h) if devices > 1 else None
        first = ttnn.slice(total, (0, 0, 0, 0), (1, 1, 1, 64))
        token = ttnn.to_memory_config(first, programs.user_sharded(1, 1, 64))
        ttnn.experimental.paged_update_cache(cache.tensor, token, update_idxs_tensor=position, page_table=table)
        return total

    trace, out = captured(mesh, step)
    for place in (3, 40, 7):
        values = torch.randn(1, 1, 32, 64, generator=torch.Generator().manual_seed(place))
        fresh(bench, x.tensor, values)
        write(mesh, torch.tensor([place], dtype=torch.int32), position)
        before = bench.read(cache.tensor)
        replay(mesh, trace)
        replayed, kept = bench.read(out), bench.read(cache.tensor)
        back = [torch.equal(a, b) for a, b in zip(before, kept, strict=True)]
        assert not any(back)
        assert all(torch.equal(a, b) for a, b in zip(bench.read(step()), replayed, strict=True))
        assert all(torch.equal(a, b) for a, b in zip(bench.read(cache.tensor), kept, strict=True))


def test_each_trace_replays_its_own_ops(bench: Operands) -> None:
    x = bench.put(rows(2.0)).tensor
    first, a = captured(bench.mesh, lambda: ttnn.add(x, 1.0))
    second, b = captured(bench.mesh, lambda: ttnn.multiply(x, 4.0))
    replay(bench.mesh, second)
    replay(bench.mesh, first)
    bench.check(a, [rows(3.0)] * bench.mesh.tensor_parallel, roundings=0)
    bench.check(b, [rows(8.0)] * bench.mesh.tensor_parallel, roundings=0)


def test_parts_taken_in_a_capture_show_every_replay(bench: Operands) -> None:
    x = bench.put(rows(0.0)).tensor
    trace, parts = captured(bench.mesh, lambda: ttnn.get_device_tensors(ttnn.add(x, 1.0)))
    for value in (2.0, 3.0):
        fresh(bench, x, rows(value))
        replay(bench.mesh, trace)
        assert all(float(ttnn.to_torch(part).float().mean()) == value + 1 for part in parts)


# ---- what a capture does


def test_a_capture_computes_nothing_and_writes_to_no_cache(bench: Operands) -> None:
    cache, new = bench.random(4, 1, 32, 64), bench.random(1, 1, 32, 64)
    table = integers(bench.mesh, torch.tensor([[2]], dtype=torch.int32), ttnn.int32)

    def step() -> ttnn.Tensor:
        ttnn.experimental.paged_fill_cache(cache.tensor, new.tensor, table, batch_idx=0)
        return ttnn.add(new.tensor, 1.0)

    step()
    fresh_cache = bench.put(torch.zeros(4, 1, 32, 64))
    cache = fresh_cache
    with capturing(bench.mesh) as trace:
        out = step()
    bench.check(cache.tensor, cache.local, roundings=0)
    with pytest.raises(SimulatorError, match="a trace that never ran makes it"):
        bench.read(out)
    replay(bench.mesh, trace)
    bench.check(out, [part + 1 for part in new.local])
    for got, part in zip(bench.read(cache.tensor), new.local, strict=True):
        assert torch.equal(got[2], part[0])


def test_a_trace_frees_what_it_makes_and_deallocates(bench: Operands) -> None:
    x = bench.put(torch.ones(1, 1, 1024, 1024)).tensor
    made: list[ttnn.Tensor] = []

    def step() -> ttnn.Tensor:
        between = ttnn.add(x, 1.0)
        made.append(between)
        out = ttnn.multiply(between, 2.0)
        ttnn.deallocate(between)
        return out

    ttnn.deallocate(step())
    before = bench.mesh.dram_bytes()[0]
    with capturing(bench.mesh) as trace:
        out = step()
    assert bench.mesh.dram_bytes()[0] - before == pytest.approx(2 * 1024 * 1024, rel=0.05)  # the output alone
    for _ in range(2):
        replay(bench.mesh, trace)
        assert made[-1].cell.value is None
        assert float(bench.read(out)[0].mean()) == 4.0


# ---- what is refused


@pytest.mark.parametrize(
    ("op", "access"),
    [
        ("ttnn.from_torch", lambda mesh, x: integers(mesh, torch.zeros(4, dtype=torch.int32), ttnn.int32)),
        ("ttnn.zeros", lambda mesh, x: ttnn.zeros([32, 32], layout=ttnn.TILE_LAYOUT, device=mesh.device)),
        ("ttnn.to_torch", lambda mesh, x: ttnn.to_torch(ttnn.get_device_tensors(x)[0])),
        ("ttnn.copy_host_to_device_tensor", lambda mesh, x: write(mesh, torch.zeros(1, 1, dtype=torch.int32), x)),
    ],
)
def test_a_transfer_in_a_capture_is_refused(
    bench: Operands, op: str, access: Callable[[Mesh, ttnn.Tensor], Any]
) -> None:
    x = integers(bench.mesh, torch.zeros(1, 1, dtype=torch.int32), ttnn.int32)
    with capturing(bench.mesh), pytest.raises(SimulatorError, match=f"{op}: .*inside a trace capture"):
        access(bench.mesh, x)
    access(bench.mesh, x)  # and is fine after it


def test_a_host_tensor_may_be_made_in_a_capture(bench: Operands) -> None:
    with capturing(bench.mesh):
        host = host_copy(bench.mesh, torch.tensor([1], dtype=torch.int32), dtype=ttnn.int32)
    assert ttnn.to_torch(ttnn.get_device_tensors(host)[0]).tolist() == [1]


def test_an_op_that_would_be_compiled_in_a_capture_is_refused(bench: Operands) -> None:
    a, b = bench.random(1, 1, 32, 11 * 32).tensor, bench.random(1, 1, 11 * 32, 13 * 32).tensor  # no other test's sizes
    with capturing(bench.mesh), pytest.raises(SimulatorError, match=r"ttnn\.matmul: .*compiled inside"):
        ttnn.matmul(a, b)
    ttnn.matmul(a, b)
    with capturing(bench.mesh):
        ttnn.matmul(a, b)


def test_one_capture_at_a_time(bench: Operands) -> None:
    with capturing(bench.mesh), pytest.raises(SimulatorError, match="a second capture while one is open"):
        ttnn.begin_trace_capture(bench.mesh.device, cq_id=0)


def test_a_replay_inside_a_capture_is_refused(bench: Operands) -> None:
    x = bench.put(rows(1.0)).tensor
    trace, _ = captured(bench.mesh, lambda: ttnn.add(x, 1.0))
    with capturing(bench.mesh), pytest.raises(SimulatorError, match="a replay inside a trace capture"):
        replay(bench.mesh, trace)


def test_a_released_trace_cannot_run(bench: Operands) -> None:
    x = bench.put(rows(1.0)).tensor
    trace, _ = captured(bench.mesh, lambda: ttnn.add(x, 1.0))
    ttnn.release_trace(bench.mesh.device, trace)
    for use in (replay, lambda mesh, t: ttnn.release_trace(mesh.device, t)):
        with pytest.raises(SimulatorError, match=f"got trace {trace}; expected one of"):
            use(bench.mesh, trace)


def test_only_the_open_capture_can_be_ended(bench: Operands) -> None:
    with capturing(bench.mesh) as trace, pytest.raises(SimulatorError, match=rf"got trace {trace + 1}.*\[{trace}\]"):
        ttnn.end_trace_capture(bench.mesh.device, trace + 1, cq_id=0)
    with pytest.raises(SimulatorError, match=f"got trace {trace}"):
        ttnn.end_trace_capture(bench.mesh.device, trace, cq_id=0)


def test_a_trace_whose_capture_is_open_cannot_run(bench: Operands) -> None:
    with capturing(bench.mesh) as trace, pytest.raises(SimulatorError, match=f"got trace {trace}"):
        replay(bench.mesh, trace)
