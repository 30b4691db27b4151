"""Every op is validated by ttnn, computed by a kernel, or refused; never quietly wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pytest
import torch
import ttnn
from ttnn.decorators import FastOperation

from ttfamily.core.layout.programs import Programs
from ttfamily.core.mesh.mesh import open_mesh
from ttfamily.core.mesh.placement import put
from ttfamily.errors import SimulatorError
from ttfamily.sim.interpreter import TENSOR_FUNCTIONS, TRACE_FUNCTIONS
from ttfamily.sim.methods import METHODS
from ttfamily.sim.session import observed
from ttfamily.sim.tensor import SimTensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from ttfamily.testing.operands import Operands

PATCHED = (*TRACE_FUNCTIONS, *TENSOR_FUNCTIONS)


def ttnn_functions() -> dict[str, Any]:
    functions = {"__call__": FastOperation.__call__, **{name: getattr(ttnn, name) for name in PATCHED}}
    return functions | {f"Tensor.{name}": getattr(ttnn.Tensor, name) for name in METHODS}


# ---- what is refused


def unknown_op(x: ttnn.Tensor) -> ttnn.Tensor:
    """Call an op that has neither a kernel nor a golden function."""
    return ttnn.experimental.dropout(x, probability=0.5, scale=2.0, seed=1)


def test_an_op_with_neither_kernel_nor_golden_function_is_named_with_where_to_add_it(bench: Operands) -> None:
    x = bench.random(1, 1, 32, 32).tensor
    with pytest.raises(
        SimulatorError,
        match=r"ttnn\.experimental\.dropout: got an op with neither a kernel of .* golden .*ttfamily/sim/ops/",
    ):
        unknown_op(x)


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda x: ttnn.add(x, x, fast_and_approximate_mode=True), "fast_and_approximate_mode"),
        (lambda x: ttnn.slice(x, (0, 0, 0, 0), (1, 1, 20, 32), pad_value=1.0), "pad_value"),
        (lambda x: ttnn.rms_norm(x, epsilon=1e-5, recip_tensor=x), "recip_tensor"),
        (lambda x: ttnn.sqrt(x, fast_and_approximate_mode=True), "fast_and_approximate_mode"),
        (lambda x: ttnn.from_torch(torch.zeros(1), preserve_nan_values=True), "preserve_nan_values"),
    ],
)
def test_an_argument_that_is_not_simulated_is_refused(
    bench: Operands, call: Callable[[ttnn.Tensor], Any], argument: str
) -> None:
    with pytest.raises((SimulatorError, RuntimeError, TypeError)) as caught:
        call(bench.random(1, 1, 32, 32).tensor)
    if isinstance(caught.value, SimulatorError):  # ttnn may refuse it first
        assert argument in str(caught.value)


def test_an_argument_that_only_says_how_is_left_to_ttnn(bench: Operands) -> None:
    x = bench.random(1, 1, 32, 64)
    got = ttnn.add(x.tensor, x.tensor, memory_config=ttnn.L1_MEMORY_CONFIG)
    assert got.memory_config().buffer_type == ttnn.BufferType.L1
    bench.check(got, [2 * part for part in x.local])


def test_a_tensor_that_no_python_code_saw_is_refused_at_its_next_op(bench: Operands) -> None:
    memory = ttnn.DRAM_MEMORY_CONFIG
    made = ttnn.Tensor([0.5] * 1024, [32, 32], ttnn.bfloat16, ttnn.TILE_LAYOUT, bench.mesh.device, memory)
    for use in (lambda: ttnn.add(made, 1.0), lambda: ttnn.to_torch(made), lambda: ttnn.get_device_tensors(made)):
        with pytest.raises(SimulatorError, match=r"carries no simulated values.*ttnn\.to_device from a host tensor"):
            use()


@pytest.mark.parametrize("method", ["extract_shard", "pad", "to_torch_with_padded_shape", "unpad"])
def test_a_method_that_would_read_the_empty_buffer_is_refused(bench: Operands, method: str) -> None:
    x = bench.random(1, 1, 32, 64).tensor
    with pytest.raises(SimulatorError, match=rf"ttnn\.Tensor\.{method}: .*expected ttnn\.to_torch"):
        getattr(x, method)()


def test_a_printed_tensor_shows_its_values(bench: Operands) -> None:
    assert "0.7500" in repr(bench.put(torch.full((1, 1, 32, 32), 0.75)).tensor)


def test_operators_are_ops_too(bench: Operands) -> None:
    x = bench.random(1, 1, 32, 32)
    bench.check(x.tensor + x.tensor * 2.0 - 1.0, [3 * part - 1 for part in x.local], roundings=3)
    bench.check(x.tensor[0, :, 16:], [part[0, :, 16:] for part in x.local], roundings=0)


def test_an_op_that_is_written_in_python_is_the_ops_that_it_calls(bench: Operands) -> None:
    x, seen = bench.random(1, 1, 32, 64), []
    part = ttnn.get_device_tensors(x.tensor)[0]
    with observed(lambda name, *_: seen.append(name)):
        assert ttnn.pearson_correlation_coefficient(x.local[0].float(), part) == 1.0
        assert tuple(part[0].shape) == (1, 32, 64)
    assert seen[0] == "ttnn.to_torch"
    assert "ttnn.slice" in seen
    assert not any("pearson" in name or "__getitem__" in name for name in seen)


def test_what_an_op_does_on_host_is_ttnns_own(bench: Operands) -> None:
    host = ttnn.from_torch(torch.arange(64.0).reshape(1, 1, 2, 32))
    tiles = ttnn.to_layout(ttnn.to_dtype(host, ttnn.bfloat16), ttnn.TILE_LAYOUT)
    assert type(tiles) is ttnn.Tensor
    assert torch.equal(ttnn.to_torch(tiles).float(), torch.arange(64.0).reshape(1, 1, 2, 32))
    assert torch.equal(ttnn.to_torch(ttnn.get_device_tensors(tiles.to(bench.mesh.device))[0]), ttnn.to_torch(tiles))


# ---- kernels that are wrong


@pytest.fixture
def broken(bench: Operands, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., Any]], None]:
    """Put another kernel in the place of ttnn.add's."""

    def replace(kernel: Callable[..., Any]) -> None:
        rows = bench.interpreter._rows
        monkeypatch.setitem(rows, "add", attrs.evolve(rows["add"], kernel=kernel))

    return replace


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (lambda a, _b: a.read()[..., :16], r"result of shape \(1, 1, 32, 16\); expected \(1, 1, 32, 32\)"),
        (lambda a, _b: (a.read(), a.read()), "2 results of its kernel; expected 1"),
        (lambda a, _b: a.read() @ torch.zeros(3), "simulator kernel fails on: size mismatch"),
    ],
)
def test_a_kernel_that_disagrees_with_ttnn_is_an_error(
    bench: Operands, broken: Callable[[Callable[..., Any]], None], kernel: Callable[..., Any], message: str
) -> None:
    broken(kernel)
    x = bench.random(1, 1, 32, 32).tensor
    with pytest.raises(SimulatorError, match=message):
        ttnn.add(x, x)


# ---- what ttnn checks


def test_ttnns_own_validation_comes_through(bench: Operands) -> None:
    x = bench.random(1, 1, 32, 64).tensor
    with pytest.raises(RuntimeError, match="TT_FATAL"):
        ttnn.matmul(x, x)
    with pytest.raises(RuntimeError, match="TT_FATAL"):
        ttnn.to_memory_config(x, Programs(bench.mesh).width_sharded(32, 1))
    with pytest.raises(RuntimeError, match="Out of Memory"):
        ttnn.allocate_tensor_on_device(
            ttnn.Shape([1, 1, 2**20, 2**15]),
            ttnn.bfloat16,
            ttnn.TILE_LAYOUT,
            bench.mesh.device,
            ttnn.DRAM_MEMORY_CONFIG,
        )


def test_the_next_op_works_after_an_error(bench: Operands) -> None:
    x = bench.random(1, 1, 32, 64)
    for wrong in (lambda: unknown_op(x.tensor), lambda: ttnn.matmul(x.tensor, x.tensor), lambda: ttnn.add(x.tensor)):
        with pytest.raises((SimulatorError, RuntimeError, TypeError)):
            wrong()
        bench.check(ttnn.add(x.tensor, 1.0), [part + 1 for part in x.local])


# ---- buffers


def test_a_freed_tensor_cannot_be_used(bench: Operands) -> None:
    x = bench.random(1, 1, 32, 64).tensor
    ttnn.deallocate(x)
    with pytest.raises(SimulatorError, match="it was deallocated"):
        ttnn.to_torch(ttnn.get_device_tensors(x)[0])
    with pytest.raises(RuntimeError, match="not allocated"):
        ttnn.add(x, 1.0)


def test_an_op_with_nothing_to_do_returns_its_inputs_buffer(bench: Operands) -> None:
    x = bench.random(1, 1, 32, 64)
    same = ttnn.to_memory_config(ttnn.to_layout(x.tensor, ttnn.TILE_LAYOUT), ttnn.DRAM_MEMORY_CONFIG)
    bench.check(same, x.local, roundings=0)
    ttnn.deallocate(x.tensor)
    with pytest.raises(SimulatorError, match="it was deallocated"):
        bench.read(same)


def test_an_op_with_nothing_to_do_on_one_devices_part_is_that_part(bench: Operands) -> None:
    x = bench.random(1, 1, 32, 64, cut=3)
    for part, want in zip(ttnn.get_device_tensors(x.tensor), x.local, strict=True):
        for same in (
            ttnn.to_layout(part, ttnn.TILE_LAYOUT),
            part[:, :, :32],
            ttnn.reshape(part, (1, 1, 32, 64)),
            ttnn.squeeze(part, 2),
        ):
            assert torch.equal(ttnn.to_torch(same).double(), want)


def test_a_buffer_freed_under_another_shape_cannot_be_read(bench: Operands) -> None:
    x = bench.random(1, 1, 64, 64)
    view = ttnn.reshape(x.tensor, (1, 2, 32, 64))
    bench.check(view, [part.reshape(1, 2, 32, 64) for part in x.local], roundings=0)
    ttnn.deallocate(view)
    with pytest.raises(SimulatorError, match="it was deallocated"):
        bench.read(x.tensor)


def test_a_write_in_place_that_another_shape_would_miss_is_refused(bench: Operands) -> None:
    cache, new = bench.random(4, 1, 32, 64), bench.random(1, 1, 32, 64)
    view = ttnn.reshape(cache.tensor, (1, 4, 32, 64))
    table = bench.put(torch.tensor([[2]], dtype=torch.int32), dtype=ttnn.int32, layout=ttnn.ROW_MAJOR_LAYOUT)
    for tensor in (cache.tensor, ttnn.reshape(view, (4, 1, 32, 64))):
        with pytest.raises(SimulatorError, match="gave another shape without a copy"):
            ttnn.experimental.paged_fill_cache(tensor, new.tensor, table.tensor, batch_idx=0)
    bench.check(view, [part.reshape(1, 4, 32, 64) for part in cache.local], roundings=0)


def test_freed_memory_is_given_back(bench: Operands) -> None:
    before = bench.mesh.dram_bytes()[0]
    x = bench.random(1, 1, 1024, 1024).tensor
    assert bench.mesh.dram_bytes()[0] - before >= 2 * 1024 * 1024
    ttnn.deallocate(x)
    assert bench.mesh.dram_bytes()[0] == before


def test_a_write_in_place_reaches_no_copy(bench: Operands) -> None:
    cache = bench.random(4, 1, 32, 64)
    others = [
        ttnn.clone(cache.tensor),
        ttnn.to_memory_config(cache.tensor, ttnn.L1_MEMORY_CONFIG),
        ttnn.reshape(ttnn.clone(cache.tensor), (1, 4, 32, 64)),
        ttnn.slice(cache.tensor, (1, 0, 0, 0), (3, 1, 32, 64)),
        ttnn.permute(cache.tensor, (1, 0, 2, 3)),
        ttnn.unsqueeze_to_4D(ttnn.clone(cache.tensor)),
    ]
    before = [bench.read(other) for other in others]
    table = bench.put(torch.tensor([[1, 2]], dtype=torch.int32), dtype=ttnn.int32, layout=ttnn.ROW_MAJOR_LAYOUT)
    new = bench.random(1, 1, 64, 64)
    for _ in range(2):
        ttnn.experimental.paged_fill_cache(cache.tensor, new.tensor, table.tensor, batch_idx=0)
        for other, values in zip(others, before, strict=True):
            bench.check(other, values, roundings=0)
    assert not torch.equal(bench.read(cache.tensor)[0], cache.local[0])


def test_a_write_in_place_is_seen_by_the_parts_of_the_tensor(bench: Operands) -> None:
    cache = bench.random(4, 1, 32, 64)
    parts = ttnn.get_device_tensors(cache.tensor)
    copies = [ttnn.clone(part) for part in parts]
    table = bench.put(torch.tensor([[3]], dtype=torch.int32), dtype=ttnn.int32, layout=ttnn.ROW_MAJOR_LAYOUT)
    new = bench.random(1, 1, 32, 64, cut=1)
    ttnn.experimental.paged_fill_cache(cache.tensor, new.tensor, table.tensor, batch_idx=0)
    for part, copy, x, old in zip(parts, copies, new.local, cache.local, strict=True):
        assert torch.equal(ttnn.to_torch(part)[3].double(), x[0])
        assert torch.equal(ttnn.to_torch(copy).double(), old)
    ttnn.deallocate(parts[0])  # the buffer of all
    with pytest.raises(SimulatorError, match="it was deallocated"):
        ttnn.to_torch(parts[-1])


# ---- opening and closing (these take no mesh of the session's, so they run before it is open)


def test_nothing_of_ttnn_is_left_replaced_after_close() -> None:
    before = ttnn_functions()
    mesh = open_mesh("n150", "simulated")
    assert all(ttnn_functions()[name] is not function for name, function in before.items())
    mesh.close()
    assert all(ttnn_functions()[name] is function for name, function in before.items())
    mesh.close()  # a second time does nothing
    assert all(ttnn_functions()[name] is function for name, function in before.items())


def test_nothing_of_ttnn_is_left_replaced_after_an_error_in_an_op() -> None:
    before = ttnn_functions()
    mesh = open_mesh("n150", "simulated")
    x = put(mesh, torch.zeros(1, 1, 32, 32), dtype=ttnn.bfloat16)
    with pytest.raises(SimulatorError):
        unknown_op(x)
    mesh.close()
    assert all(ttnn_functions()[name] is function for name, function in before.items())


def test_after_close_ttnn_is_plain_ttnn() -> None:
    mesh = open_mesh("n150", "simulated")
    host = ttnn.from_torch(torch.arange(6.0).reshape(2, 3))
    assert isinstance(host, SimTensor)
    mesh.close()
    plain = ttnn.from_torch(torch.arange(6.0).reshape(2, 3), dtype=ttnn.bfloat16)
    assert type(plain) is ttnn.Tensor
    for tensor in (plain, host):  # a host tensor of the session holds real values too
        assert torch.equal(ttnn.to_torch(tensor).float(), torch.arange(6.0).reshape(2, 3))
    assert torch.equal(ttnn.to_torch(ttnn.get_device_tensors(plain)[0]), ttnn.to_torch(plain))
