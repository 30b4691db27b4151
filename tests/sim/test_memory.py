"""Addresses: what a replay overwrites is known, and reading it is an error that names both tensors."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest
import torch
import ttnn
from hypothesis import given
from hypothesis import strategies as st

from ttfamily.core.layout.programs import Programs
from ttfamily.errors import SimulatorError
from ttfamily.sim.memory import Span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ttfamily.testing.operands import Operands

SHAPE = (1, 1, 32, 32)
ALIGNMENT = 32  # ttnn rounds a buffer up to it; nothing else begins before


@pytest.fixture(autouse=True)
def _no_trace_outlives_its_test(bench: Operands) -> Iterator[None]:
    yield
    for trace in bench.interpreter.mesh.traces.alive:
        ttnn.release_trace(bench.mesh.device, trace)


def ones(bench: Operands) -> ttnn.Tensor:
    return bench.put(torch.ones(SHAPE)).tensor


def capture(bench: Operands, step: Callable[[], ttnn.Tensor]) -> tuple[int, ttnn.Tensor]:
    """Compile a step, then capture it."""
    ttnn.deallocate(step())
    trace = ttnn.begin_trace_capture(bench.mesh.device, cq_id=0)
    out = step()
    ttnn.end_trace_capture(bench.mesh.device, trace, cq_id=0)
    return trace, out


def replay(bench: Operands, trace: int) -> None:
    ttnn.execute_trace(bench.mesh.device, trace, cq_id=0, blocking=False)


def two_adds(x: ttnn.Tensor, places: list[int]) -> ttnn.Tensor:
    """``(x + x) + x``; the sum in between is freed, its address noted."""
    between = ttnn.add(x, x)
    places.append(between.buffer_address())
    out = ttnn.add(between, x)
    ttnn.deallocate(between)
    return out


# ---- where buffers lie


@given(
    rows=st.integers(1, 100),
    columns=st.integers(1, 300),
    layout=st.sampled_from([ttnn.TILE_LAYOUT, ttnn.ROW_MAJOR_LAYOUT]),
    dtype=st.sampled_from([ttnn.bfloat16, ttnn.bfloat8_b, ttnn.float32]),
    memory=st.sampled_from([ttnn.DRAM_MEMORY_CONFIG, ttnn.L1_MEMORY_CONFIG]),
)
def test_a_span_is_what_ttnn_takes_of_every_bank(
    bench: Operands, rows: int, columns: int, layout: ttnn.Layout, dtype: ttnn.DataType, memory: ttnn.MemoryConfig
) -> None:
    dtype = dtype if layout == ttnn.TILE_LAYOUT or dtype != ttnn.bfloat8_b else ttnn.bfloat16
    check_span(bench, (1, 1, rows, columns), layout, dtype, memory)


@pytest.mark.parametrize("cores", [1, 8, 12])
def test_a_span_of_a_sharded_tensor_is_a_shard(bench: Operands, cores: int) -> None:
    memory = Programs(bench.mesh).width_sharded(cores * 64, cores)
    check_span(bench, (1, 1, 32, cores * 64), ttnn.TILE_LAYOUT, ttnn.bfloat16, memory)


def check_span(
    bench: Operands, shape: tuple[int, ...], layout: ttnn.Layout, dtype: ttnn.DataType, memory: ttnn.MemoryConfig
) -> None:
    def allocated() -> int:
        view = ttnn.get_memory_view(bench.mesh.device, memory.buffer_type)
        count: int = view.total_bytes_allocated_per_bank
        return count

    gc.collect()
    before = allocated()
    tensor = ttnn.allocate_tensor_on_device(ttnn.Shape(list(shape)), dtype, layout, bench.mesh.device, memory)
    taken = allocated() - before
    banks = ttnn.get_memory_view(bench.mesh.device, memory.buffer_type).num_banks
    span = Span.of(tensor, banks)
    assert span.start == tensor.buffer_address()
    assert 0 <= taken - (span.end - span.start) < ALIGNMENT


# ---- what a replay overwrites


def test_a_tensor_allocated_after_the_capture_is_overwritten(bench: Operands) -> None:
    x, places = ones(bench), []
    trace, out = capture(bench, lambda: two_adds(x, places))
    late = ones(bench)
    assert late.buffer_address() == places[-1]  # where the trace keeps the sum in between
    bench.check(late, [torch.ones(SHAPE)] * bench.mesh.tensor_parallel, roundings=0)
    replay(bench, trace)
    bench.check(out, [torch.full(SHAPE, 3.0)] * bench.mesh.tensor_parallel, roundings=0)
    with pytest.raises(SimulatorError) as error:
        ttnn.add(late, x)
    message = str(error.value)
    assert f"a replay of trace {trace} has overwritten" in message
    assert "of ttnn.from_torch (core/mesh/placement.py:" in message  # who made the one
    assert "of ttnn.add (tests/sim/test_memory.py:" in message  # and the other
    assert f"in the capture of trace {trace}" in message
    assert message.index("ttnn.from_torch") < message.index("ttnn.add (")
    with pytest.raises(SimulatorError, match="has overwritten"):
        bench.read(late)


def test_a_tensor_that_no_replay_writes_over_keeps_its_values(bench: Operands) -> None:
    x = ones(bench)
    trace, out = capture(bench, lambda: two_adds(x, []))
    gap, late = ones(bench), ones(bench)  # the first takes the gap that the capture left
    replay(bench, trace)
    assert late.buffer_address() > out.buffer_address() > gap.buffer_address()
    bench.check(late, [torch.ones(SHAPE)] * bench.mesh.tensor_parallel, roundings=0)


def test_a_tensor_that_is_freed_before_the_replay_is_no_matter(bench: Operands) -> None:
    x = ones(bench)
    trace, _out = capture(bench, lambda: two_adds(x, []))
    late = ones(bench)
    bench.read(late)
    ttnn.deallocate(late)
    replay(bench, trace)
    again = ones(bench)  # at the same address, after the replay
    bench.check(again, [torch.ones(SHAPE)] * bench.mesh.tensor_parallel, roundings=0)


def test_what_is_written_anew_can_be_read_until_the_next_replay(bench: Operands) -> None:
    x = ones(bench)
    trace, _out = capture(bench, lambda: two_adds(x, []))
    late = ones(bench)
    replay(bench, trace)
    host = ttnn.from_torch(
        torch.full(SHAPE, 7.0), dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT,
        mesh_mapper=ttnn.ReplicateTensorToMesh(bench.mesh.device),
    )  # fmt: skip
    ttnn.copy_host_to_device_tensor(host, late)
    bench.check(late, [torch.full(SHAPE, 7.0)] * bench.mesh.tensor_parallel, roundings=0)
    replay(bench, trace)
    with pytest.raises(SimulatorError, match="has overwritten"):
        bench.read(late)


def test_a_freed_output_that_a_trace_still_writes_overwrites_who_comes_after(bench: Operands) -> None:
    x = ones(bench)
    trace, out = capture(bench, lambda: ttnn.add(x, 1.0))
    place = out.buffer_address()
    ttnn.deallocate(out)
    late = ones(bench)
    assert late.buffer_address() == place
    replay(bench, trace)
    with pytest.raises(SimulatorError, match=rf"a replay of trace {trace} has overwritten with the tensor .* ttnn.add"):
        bench.read(late)


def test_a_view_of_an_overwritten_tensor_is_overwritten_too(bench: Operands) -> None:
    x, places = ones(bench), []
    trace, _out = capture(bench, lambda: two_adds(x, places))
    late = ones(bench)
    view = ttnn.reshape(late, (1, 1, 16, 32), (1, 1, 32, 32))
    assert view.buffer_address() == places[-1]
    replay(bench, trace)
    with pytest.raises(SimulatorError, match="has overwritten"):
        bench.read(view)


def test_a_trace_overwrites_what_another_one_made_until_that_runs_again(bench: Operands) -> None:
    x = ones(bench)
    ttnn.deallocate(ttnn.multiply(x, 4.0))
    first, a = capture(bench, lambda: two_adds(x, []))
    second, b = capture(bench, lambda: ttnn.multiply(x, 4.0))  # its output lies in the first one's gap
    replay(bench, second)
    bench.check(b, [torch.full(SHAPE, 4.0)] * bench.mesh.tensor_parallel, roundings=0)
    replay(bench, first)
    bench.check(a, [torch.full(SHAPE, 3.0)] * bench.mesh.tensor_parallel, roundings=0)
    with pytest.raises(SimulatorError, match=f"a replay of trace {first} has overwritten"):
        bench.read(b)
    replay(bench, second)
    bench.check(b, [torch.full(SHAPE, 4.0)] * bench.mesh.tensor_parallel, roundings=0)


def test_a_released_trace_overwrites_nothing_any_more(bench: Operands) -> None:
    x = ones(bench)
    trace, _out = capture(bench, lambda: two_adds(x, []))
    ttnn.release_trace(bench.mesh.device, trace)
    late = ones(bench)
    bench.check(late, [torch.ones(SHAPE)] * bench.mesh.tensor_parallel, roundings=0)


def test_the_registry_of_buffers_forgets_those_that_are_gone(bench: Operands) -> None:
    x = ones(bench)
    for _ in range(5000):
        ttnn.add(x, x)
    gc.collect()
    assert len(bench.interpreter.mesh.allocations._cells) < 4000


# ---- a trace's inputs


def test_a_replay_whose_input_was_deallocated_is_refused(bench: Operands) -> None:
    x = ones(bench)
    trace, _out = capture(bench, lambda: ttnn.add(x, 1.0))
    ttnn.deallocate(x)
    match = r"trace \d+, which uses .* ttnn.from_torch .*, which was deallocated at tests/sim/test_memory.py:\d+"
    with pytest.raises(SimulatorError, match=match):
        replay(bench, trace)


def test_a_replay_whose_input_nobody_keeps_is_refused(bench: Operands) -> None:
    inputs = [ones(bench)]
    trace, _out = capture(bench, lambda: ttnn.add(inputs[0], 1.0))
    inputs.clear()
    gc.collect()
    with pytest.raises(SimulatorError, match=r"which no variable refers to any more.*Keep a reference"):
        replay(bench, trace)


def test_a_trace_that_frees_its_own_input_is_refused(bench: Operands) -> None:
    x = ones(bench)
    ttnn.add(x, 1.0)
    trace = ttnn.begin_trace_capture(bench.mesh.device, cq_id=0)
    ttnn.add(x, 1.0)
    ttnn.deallocate(x)
    ttnn.end_trace_capture(bench.mesh.device, trace, cq_id=0)
    with pytest.raises(SimulatorError, match="which was deallocated at"):
        replay(bench, trace)


def test_an_input_that_lives_on_in_another_shape_is_kept(bench: Operands) -> None:
    inputs = [ones(bench)]
    view = ttnn.reshape(inputs[0], (1, 1, 16, 32), (1, 1, 32, 32))
    trace, out = capture(bench, lambda: ttnn.add(inputs[0], 1.0))
    inputs.clear()
    gc.collect()
    replay(bench, trace)
    bench.check(out, [torch.full(SHAPE, 2.0)] * bench.mesh.tensor_parallel, roundings=0)
    assert view.is_allocated()


# ---- programs


def test_a_program_compiled_after_a_capture_is_refused_and_stops_the_replays(bench: Operands) -> None:
    x = ones(bench)
    wide = bench.random(1, 1, 17 * 32, 17 * 32).tensor  # no other test's size
    trace, _out = capture(bench, lambda: ttnn.add(x, 1.0))
    match = rf"ttnn\.matmul: got an op that was compiled while trace {trace} was alive.*Run everything"
    with pytest.raises(SimulatorError, match=match):
        ttnn.matmul(wide, wide)
    with pytest.raises(
        SimulatorError, match=rf"ttnn\.execute_trace: got ttnn\.matmul, which was compiled while trace {trace}"
    ):
        replay(bench, trace)
    ttnn.release_trace(bench.mesh.device, trace)
    trace, out = capture(bench, lambda: ttnn.add(x, 1.0))
    replay(bench, trace)
    bench.check(out, [torch.full(SHAPE, 2.0)] * bench.mesh.tensor_parallel, roundings=0)


def test_a_program_of_the_cache_may_run_after_a_capture(bench: Operands) -> None:
    x, y = ones(bench), bench.put(torch.full(SHAPE, 2.0)).tensor
    ttnn.multiply(x, y)
    capture(bench, lambda: ttnn.add(x, 1.0))
    bench.check(ttnn.multiply(x, y), [torch.full(SHAPE, 2.0)] * bench.mesh.tensor_parallel, roundings=0)


# ---- a rehearsal


def test_a_rehearsal_compiles_and_computes_nothing(bench: Operands) -> None:
    x, cache = bench.random(1, 1, 19 * 32, 19 * 32).tensor, bench.put(torch.zeros(4, 1, 32, 64))  # no other test's size
    new = bench.random(1, 1, 32, 64).tensor
    table = bench.put(torch.tensor([[2]], dtype=torch.int32), dtype=ttnn.int32, layout=ttnn.ROW_MAJOR_LAYOUT).tensor
    before = bench.mesh.device.num_program_cache_entries()
    with bench.mesh.rehearsal():
        out = ttnn.matmul(x, x)
        ttnn.experimental.paged_fill_cache(cache.tensor, new, table, batch_idx=0)
    assert bench.mesh.device.num_program_cache_entries() > before
    assert out.is_allocated()
    with pytest.raises(SimulatorError, match="holds nothing"):
        bench.read(out)
    bench.check(cache.tensor, cache.local, roundings=0)
    ttnn.experimental.paged_fill_cache(cache.tensor, new, table, batch_idx=0)  # and after it, again
    with pytest.raises(AssertionError):
        bench.check(cache.tensor, cache.local, roundings=0)
