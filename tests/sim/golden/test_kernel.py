"""An op that runs through its golden function: what it is given, where results go, what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
import ttnn
from hypothesis import given
from hypothesis import strategies as st

from ttfamily.core.mesh.mesh import open_mesh
from ttfamily.errors import SimulatorError
from ttfamily.testing.operands import assert_rounded
from ttfamily.testing.strategies import SEEDS

if TYPE_CHECKING:
    from ttfamily.testing.operands import Operands


@given(
    shape=st.sampled_from([(1, 1, 32, 64), (2, 3, 7, 33), (5, 40), (1, 2, 64, 32)]),
    dtype=st.sampled_from([ttnn.bfloat16, ttnn.float32, ttnn.bfloat8_b]),
    cut=st.sampled_from([None, 0]),
    dim=st.sampled_from([-1, -2]),
    seed=SEEDS,
)
def test_a_softmax_of_any_shape(
    bench: Operands, shape: tuple[int, ...], dtype: ttnn.DataType, cut: int | None, dim: int, seed: int
) -> None:
    bench.reseed(seed)
    x = bench.random(*shape, cut=cut, dtype=dtype)
    bench.check(ttnn.softmax(x.tensor, dim=dim), [bench.stored(part.softmax(dim).float(), dtype) for part in x.local])


def test_what_all_devices_share_is_computed_once(bench: Operands) -> None:
    assert ttnn.sigmoid(bench.random(1, 1, 32, 64).tensor).cell.read().shape[:2] == (1, 1)
    both = ttnn.maximum(bench.random(1, 1, 32, 64).tensor, bench.random(1, 1, 32, 64, cut=3).tensor)
    assert tuple(both.cell.read().shape[:2]) == bench.mesh.shape


def test_floats_are_computed_in_float32_and_rounded_once(bench: Operands) -> None:
    # In bfloat16 the sum would stop growing at 256; and 1/3 of it, rounded twice, would be another number.
    x = bench.put(torch.ones(1, 1, 32, 2048))
    bench.check(ttnn.sum(x.tensor, dim=-1, keepdim=True), [torch.full((1, 1, 32, 1), 2048.0)] * len(x.local), 0)


def test_unsigned_integers_keep_their_range(bench: Operands) -> None:
    large = bench.put(torch.full((1, 1, 32, 32), 2**31 + 5, dtype=torch.int64), dtype=ttnn.uint32)
    small = bench.put(torch.full((1, 1, 32, 32), 9), dtype=ttnn.uint32)
    for result, want in (
        (ttnn.gt(large.tensor, small.tensor), 1),
        (ttnn.maximum(large.tensor, small.tensor), 2**31 + 5),
        (ttnn.bitwise_right_shift(large.tensor, 1), 2**30 + 2),
        (ttnn.gather(large.tensor, 3, small.tensor), 2**31 + 5),
    ):
        assert all(bool((part == want).all()) for part in bench.read(result))


# ---- where results go


def test_a_result_goes_into_the_tensor_that_is_given_for_it(bench: Operands) -> None:
    x, out = bench.random(1, 1, 32, 64, cut=3), bench.random(1, 1, 32, 64)
    for call in (
        lambda: ttnn.relu(x.tensor, output_tensor=out.tensor),
        lambda: ttnn.add(x.tensor, x.tensor, output_tensor=out.tensor),
    ):
        made = call()
        assert made.buffer_unique_id() == out.tensor.buffer_unique_id()
        assert all(map(torch.equal, bench.read(made), bench.read(out.tensor)))
    bench.check(out.tensor, [2 * part for part in x.local], roundings=0)


def test_each_of_several_results_goes_into_its_tensor(bench: Operands) -> None:
    x = bench.random(1, 1, 32, 64, cut=3)
    values = bench.random(1, 1, 32, 32).tensor
    places = bench.put(torch.zeros(1, 1, 32, 32, dtype=torch.int32), dtype=ttnn.uint16).tensor
    ttnn.topk(x.tensor, 32, dim=-1, output_tensor=(values, places))
    bench.check(values, [part.sort(-1, descending=True).values[..., :32] for part in x.local], roundings=0)
    for part, found in zip(x.local, bench.read(places), strict=True):
        assert torch.equal(part.gather(-1, found), part.sort(-1, descending=True).values[..., :32])


def test_an_operand_that_is_written_and_not_returned_is_written(bench: Operands) -> None:
    x = bench.random(2, 3, 32, 32, cut=0)
    mean, var = bench.put(torch.zeros(1, 3, 1, 1)), bench.put(torch.ones(1, 3, 1, 1))
    ttnn.batch_norm(x.tensor, running_mean=mean.tensor, running_var=var.tensor, training=True, momentum=0.5)
    bench.check(mean.tensor, [0.5 * part.mean((0, 2, 3)).reshape(1, 3, 1, 1) for part in x.local])
    bench.check(var.tensor, [0.5 + 0.5 * part.var((0, 2, 3)).reshape(1, 3, 1, 1) for part in x.local])


def test_a_write_in_place_that_another_shape_would_miss_is_refused(bench: Operands) -> None:
    x = bench.random(1, 4, 32, 64)
    view = ttnn.squeeze(x.tensor, 0)
    with pytest.raises(SimulatorError, match="gave another shape without a copy"):
        ttnn.multiply_(view, 2.0)
    bench.check(x.tensor, x.local, roundings=0)


def test_a_write_in_place_reaches_the_parts_of_the_tensor_and_no_copy(bench: Operands) -> None:
    x = bench.random(1, 1, 32, 64, cut=3)
    parts, copy = ttnn.get_device_tensors(x.tensor), ttnn.clone(x.tensor)
    ttnn.multiply_(x.tensor, 2.0)
    bench.check(copy, x.local, roundings=0)
    for part, old in zip(parts, x.local, strict=True):
        assert torch.equal(ttnn.to_torch(part).double(), 2 * old)


def test_a_replay_computes_on_what_the_inputs_hold_then(bench: Operands) -> None:
    x, kept = bench.random(1, 1, 32, 64, cut=3), bench.put(torch.ones(1, 1, 32, 64))

    def step() -> list[ttnn.Tensor]:
        ttnn.multiply_(kept.tensor, 2.0)
        return ttnn.sort(ttnn.softmax(x.tensor, dim=-1), dim=-1)

    step()
    trace = ttnn.begin_trace_capture(bench.mesh.device, cq_id=0)
    values, _ = step()
    ttnn.end_trace_capture(bench.mesh.device, trace, cq_id=0)
    new = torch.randn(1, 1, 32, 64 * bench.mesh.tensor_parallel, generator=bench.numbers)
    mapper = ttnn.ShardTensorToMesh(bench.mesh.device, dim=3)
    host = ttnn.from_torch(new, dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, mesh_mapper=mapper)
    ttnn.copy_host_to_device_tensor(host, x.tensor)
    for _ in range(2):
        ttnn.execute_trace(bench.mesh.device, trace, cq_id=0, blocking=True)
    ttnn.release_trace(bench.mesh.device, trace)
    parts = new.chunk(bench.mesh.tensor_parallel, 3)
    for got, part in zip(bench.read(values), parts, strict=True):
        assert_rounded(got, part.bfloat16().double().softmax(-1).sort(-1).values)
    bench.check(kept.tensor, [torch.full((1, 1, 32, 64), 8.0)] * len(kept.local), roundings=0)


# ---- what is refused


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda x: ttnn.sqrt(x, fast_and_approximate_mode=True), "fast_and_approximate_mode=True, which ttnn's golden"),
        (lambda x: ttnn.gelu(x, fast_and_approximate_mode=True), "gives no result for this call"),
        (lambda x: ttnn.sampling(*_sampling(x)), "its golden function returns zeros"),
        (lambda x: ttnn.mesh_partition(x, dim=3), "works over several chips"),
    ],
)
def test_what_a_golden_function_does_not_know_is_refused(bench: Operands, call: object, said: str) -> None:
    with pytest.raises((SimulatorError, RuntimeError), match=f"{said}|TT_FATAL"):
        call(bench.random(1, 1, 32, 64).tensor)  # type: ignore[operator]


def test_a_freed_tensor_is_refused_where_ttnn_would_end_the_process(bench: Operands) -> None:
    x = bench.random(1, 1, 32, 64).tensor
    ttnn.deallocate(x)
    for use in (lambda: ttnn.relu(x), lambda: ttnn.stack([x, x], 0), lambda: ttnn.topk(x, k=8)):
        with pytest.raises(SimulatorError, match="got a tensor that was deallocated"):
            use()


def test_a_write_into_one_devices_part_is_refused(bench: Operands) -> None:
    x = bench.random(1, 1, 32, 64, cut=3)
    if bench.mesh.tensor_parallel == 1:
        pytest.skip("the part of a mesh of one chip is the whole")
    with pytest.raises(SimulatorError, match="a write into one device's part"):
        ttnn.multiply_(ttnn.get_device_tensors(x.tensor)[0], 2.0)
    bench.check(x.tensor, x.local, roundings=0)


def _sampling(x: ttnn.Tensor) -> list[ttnn.Tensor]:
    rows = {"device": x.device(), "layout": ttnn.ROW_MAJOR_LAYOUT}
    values, places = ttnn.topk(x, 32, dim=-1)
    places = ttnn.to_layout(ttnn.typecast(places, ttnn.int32), ttnn.ROW_MAJOR_LAYOUT)
    many = ttnn.from_torch(torch.full((32,), 5, dtype=torch.int32), ttnn.uint32, **rows)
    part = ttnn.from_torch(torch.full((32,), 0.5), ttnn.bfloat16, **rows)
    return [values, places, many, part, part]


def test_an_op_of_no_kernel_runs_on_a_dry_mesh_and_cannot_be_read() -> None:
    with open_mesh("n300", "dry") as mesh:
        x = ttnn.zeros((1, 1, 32, 64), dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=mesh.device)
        values, _ = ttnn.topk(ttnn.softmax(x, dim=-1), 32)
        assert tuple(values.shape) == (1, 1, 32, 32)
        with pytest.raises(SimulatorError, match="dry mesh"):
            ttnn.to_torch(values)


# ---- convolutions and pooling, which need a region of L1 of their own


def test_pools_and_convolutions_are_torchs_where_l1_is_kept_for_them() -> None:
    image = torch.rand(2, 32, 8, 8, generator=torch.Generator().manual_seed(1)).bfloat16().float()
    weight = torch.randn(32, 32, 3, 3, generator=torch.Generator().manual_seed(2)).bfloat16().float() / 8
    size = {"batch_size": 1, "input_h": 8, "input_w": 8, "channels": 32}
    window = {"kernel_size": [3, 3], "stride": [2, 2], "padding": [1, 1], "ceil_mode": False}
    with open_mesh("n300", "simulated", l1_small_size=1 << 15) as mesh:
        rows = image.permute(0, 2, 3, 1).reshape(2, 1, 64, 32)  # each device its own image
        mapper = ttnn.ShardTensorToMesh(mesh.device, dim=0)
        x = ttnn.from_torch(rows, ttnn.bfloat16, device=mesh.device, mesh_mapper=mapper)
        conv = {"device": mesh.device, "in_channels": 32, "out_channels": 32, "input_height": 8, "input_width": 8}
        results = {
            "max": ttnn.max_pool2d(x, **size, **window, dilation=[1, 1]),
            "mean": ttnn.avg_pool2d(x, **size, **window, count_include_pad=False),
            "conv": ttnn.conv2d(
                input_tensor=x,
                weight_tensor=ttnn.from_torch(weight),
                **conv,
                batch_size=1,
                kernel_size=[3, 3],
                padding=[1, 1],
            ),
        }
        read = {
            name: torch.cat([ttnn.to_torch(part) for part in ttnn.get_device_tensors(y)]) for name, y in results.items()
        }
    wanted = {
        "max": torch.nn.functional.max_pool2d(image, 3, 2, 1),
        "mean": torch.nn.functional.avg_pool2d(image, 3, 2, 1, count_include_pad=False),
        "conv": torch.nn.functional.conv2d(image, weight, padding=1),
    }
    for name, want in wanted.items():
        assert_rounded(read[name], want.permute(0, 2, 3, 1).reshape(2, 1, -1, 32), who=f"{name}: ")
