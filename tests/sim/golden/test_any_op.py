"""More than 300 ops of ttnn that have no kernel of ours run on a simulated mesh, each called at least once.

Their values come from ttnn's golden functions, so they are compared with formulas in float64 where there is an easy
one; of all of them the sweep checks shapes, formats, which buffers change, and that no device sees another's values.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
import ttnn

from ttfamily.core.mesh.mesh import open_mesh
from ttfamily.errors import SimulatorError
from ttfamily.sim.formats import CARRIER, round_to
from ttfamily.sim.golden.kernel import golden_kernel, operations
from ttfamily.sim.golden.limits import UNUSABLE
from ttfamily.sim.structure import device_tensors_in
from ttfamily.sim.table import ROWS
from ttfamily.sim.tensor import SimTensor
from ttfamily.testing.operands import assert_rounded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ttfamily.core.mesh.mesh import Mesh


def load(name: str) -> Any:
    """A file of this folder, which is no package."""
    spec = importlib.util.spec_from_file_location(f"any_op_{name}", Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


Draw = load("draw").Draw
families, others, formulas, unreachable = map(load, ("elementwise", "others", "formulas", "unreachable"))
Values = list[torch.Tensor]  # one of every device


# ---- the calls


def ttnn_op(name: str) -> Any:
    found: Any = ttnn
    for part in name.split("."):
        found = getattr(found, part)
    return found


def all_calls() -> dict[str, Callable[[Any], Any]]:
    made: dict[str, Callable[[Any], Any]] = {}
    for name, ((low, high), _) in families.UNARY.items():
        made[name] = lambda d, name=name, low=low, high=high: ttnn_op(name)(d.real(low=low, high=high))
    for name, ((low, high), _) in families.UNARY_BACKWARD.items():
        made[name] = lambda d, name=name, low=low, high=high: ttnn_op(name)(d.real(), d.real(low=low, high=high))
    for name, (arguments, _) in families.UNARY_WITH.items():
        made[name] = lambda d, name=name, arguments=arguments: ttnn_op(name)(d.real(), *arguments)
    for name in (*families.BINARY, *families.IN_PLACE):
        made[name] = lambda d, name=name: ttnn_op(name)(d.real(), d.real(low=0.25))
    for name in families.BINARY_BACKWARD:
        made[name] = lambda d, name=name: ttnn_op(name)(d.real(), d.real(low=0.25), d.real(low=0.25))
    for name in families.INTEGER:
        made[name] = lambda d, name=name: ttnn_op(name)(d.whole(low=1, high=1000), d.whole(low=1, high=8))
    return made | others.OTHER


CALLS = all_calls()
# Which operands an op writes, by their place among those that its call makes; the others keep what they hold.
WRITES: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(families.IN_PLACE, (0,)),
    **dict.fromkeys(
        (
            "logical_not_", "fill_cache", "update_cache", "kv_cache.fill_cache_for_user_",
            "kv_cache.update_cache_for_token_", "plus_one", "softmax_in_place", "scale_mask_softmax_in_place",
            "transformer.attention_softmax_",
        ),
        (0,),
    ),
    "copy": (1,),
    "experimental.slice_write": (1,),
    "experimental.indexed_fused_update_cache": (0, 2),
    "sharded_to_interleaved_partial": (1,),
    "moreh_clip_grad_norm": (0, 1),
    "moreh_bmm_backward": (3, 4),
    "moreh_dot_backward": (3, 4),
    "moreh_linear_backward": (3, 4),
    "moreh_matmul_backward": (3, 4),
    "moreh_layer_norm_backward": (4,),
    "moreh_nll_loss_backward": (2,),
    "moreh_nll_loss_unreduced_backward": (2,),
}  # fmt: skip
FREES = ("move", "reallocate")  # their operand
FILLED_BY_HOST = ("arange", "full", "ones")  # crossings, with the golden function's values
COLLECTIVES = ("all_gather", "all_reduce", "reduce_scatter")  # kernels of ours; their golden functions are of no use
only_n300 = pytest.mark.tt_meshes("n300")


def read(tensor: ttnn.Tensor) -> Values:
    parts = [ttnn.to_torch(part) for part in ttnn.get_device_tensors(tensor)]
    return [part.double() if part.is_floating_point() else part.long() for part in parts]


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.equal(a.nan_to_num(0.5), b.nan_to_num(0.5)) and torch.equal(a.isnan(), b.isnan())


def outputs(mesh: Mesh, name: str, only: int | None = None) -> tuple[list[ttnn.Tensor], Any]:
    draw = Draw(mesh, only)
    return list(device_tensors_in(CALLS[name](draw))), draw


# ---- how many there are, and which are not


def test_more_than_300_ops_run_beside_those_with_kernels_of_ours() -> None:
    assert len(CALLS.keys() - ROWS.keys()) >= 300
    assert CALLS.keys() & ROWS.keys() == set(FILLED_BY_HOST)


def test_every_op_with_a_golden_function_is_called_or_has_a_reason_why_not() -> None:
    known = {name.removeprefix("ttnn.") for name, op in operations().items() if op.golden_function is not None}
    groups = [set(group) for group in (ROWS, CALLS, UNUSABLE, unreachable.CANNOT, unreachable.ON_HOST)]
    assert known - set.union(*groups) == set()
    assert set.union(*groups[1:]) - known == set()  # none is named that ttnn does not have
    twice = {name for i, group in enumerate(groups) for other in groups[i + 1 :] for name in group & other}
    assert twice == {*FILLED_BY_HOST, *COLLECTIVES}


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_golden_function_that_cannot_stand_for_its_op_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(SimulatorError, match=f"ttnn.{name}: got an op without a kernel") as caught:
        golden_kernel(f"ttnn.{name}", (), {})
    assert UNUSABLE[name] in str(caught.value)


def test_every_other_op_is_refused_by_name() -> None:
    neither = [
        name
        for name, op in operations().items()
        if op.golden_function is None and op.is_cpp_operation and name.removeprefix("ttnn.") not in ROWS
    ]
    assert len(neither) > 200
    for name in neither:
        with pytest.raises(SimulatorError, match="neither a kernel of ttfamily nor a golden function of ttnn"):
            golden_kernel(name, (), {})


@only_n300
@pytest.mark.parametrize("name", unreachable.CANNOT)
def test_what_is_said_to_be_out_of_reach_is(mesh: Mesh, name: str) -> None:
    attempt, message = unreachable.CANNOT[name]
    with pytest.raises((SimulatorError, RuntimeError), match=message):
        attempt(Draw(mesh))


# ---- the sweep


@only_n300
@pytest.mark.parametrize("name", CALLS)
def test_an_op_gives_values_of_its_outputs_shape_and_format(mesh: Mesh, name: str) -> None:
    results, _ = outputs(mesh, name)
    assert results
    for tensor in results:
        assert isinstance(tensor, SimTensor)
        value = tensor.cell.read()
        assert value.dtype == CARRIER[tensor.dtype]
        assert tuple(value.shape[2:]) == tuple(tensor.shape)
        assert same(round_to(value, tensor.dtype), value)


@only_n300
@pytest.mark.parametrize("name", CALLS)
def test_a_device_computes_from_its_own_values_alone(mesh: Mesh, name: str) -> None:
    every = [read(tensor) for tensor in outputs(mesh, name)[0]]
    for device in range(mesh.device.get_num_devices()):
        alone = [read(tensor) for tensor in outputs(mesh, name, only=device)[0]]
        for whole, part in zip(every, alone, strict=True):
            assert same(whole[device], part[device])


@only_n300
@pytest.mark.parametrize("name", CALLS)
def test_an_op_writes_what_it_should_and_nothing_else(mesh: Mesh, name: str) -> None:
    results, draw = outputs(mesh, name)
    if name in FREES:
        with pytest.raises(SimulatorError, match="deallocated"):
            read(draw.tensors[0])
        return
    for place, (tensor, before) in enumerate(zip(draw.tensors, draw.values, strict=True)):
        now = read(tensor)
        unchanged = all(
            same(part, old.double() if part.is_floating_point() else old.long())
            for part, old in zip(now, before, strict=True)
        )
        if place in WRITES.get(name, ()):
            assert not unchanged, place
            buffer = tensor.buffer_unique_id()
            (written,) = [result for result in results if result.buffer_unique_id() == buffer][:1] or [tensor]
            assert all(map(same, read(written), now))
        else:
            assert unchanged, place


# ---- values


def elementwise_formulas() -> Iterator[tuple[str, Callable[..., torch.Tensor]]]:
    for table in (families.UNARY, families.UNARY_WITH):
        for name, (arguments, formula) in table.items():
            if formula is not None:
                extra = arguments if table is families.UNARY_WITH else ()
                yield name, lambda x, formula=formula, extra=extra: formula(x, *extra)
    for table in (families.BINARY, families.IN_PLACE):
        yield from ((name, formula) for name, formula in table.items() if formula is not None)


FORMULAS = dict(elementwise_formulas())
DERIVATIVES = {name: formula for name, (_, formula) in families.UNARY_BACKWARD.items() if formula is not None} | {
    name: formula for name, formula in families.BINARY_BACKWARD.items() if formula is not None
}


@only_n300
@pytest.mark.parametrize("name", FORMULAS)
def test_values_are_those_of_the_formula_in_float64(mesh: Mesh, name: str) -> None:
    (result,), draw = outputs(mesh, name)
    for device, got in enumerate(read(result)):
        assert_rounded(got, FORMULAS[name](*(values[device].double() for values in draw.values)).double())


@only_n300
@pytest.mark.parametrize("name", DERIVATIVES)
def test_gradients_are_those_of_autograd_in_float64(mesh: Mesh, name: str) -> None:
    results, draw = outputs(mesh, name)
    for device in range(mesh.device.get_num_devices()):
        grad, *inputs = (values[device].double() for values in draw.values)
        inputs = [value.requires_grad_() for value in inputs]
        forward = DERIVATIVES[name](*inputs)
        want = torch.autograd.grad(forward, inputs, grad) if forward.requires_grad else [torch.zeros_like(grad)]
        assert len(results) == len(inputs)
        for result, gradient in zip(results, want, strict=True):
            assert_rounded(read(result)[device], gradient)


@only_n300
@pytest.mark.parametrize("name", formulas.OTHER_FORMULAS)
def test_other_values_are_those_of_an_independent_formula(mesh: Mesh, name: str) -> None:
    results, draw = outputs(mesh, name)
    for device in range(mesh.device.get_num_devices()):
        operands = [values[device] for values in draw.values]
        want = formulas.OTHER_FORMULAS[name](*(x.double() if x.is_floating_point() else x.long() for x in operands))
        for result, expected in zip(results, want if isinstance(want, tuple) else (want,), strict=False):
            assert_rounded(read(result)[device], expected.reshape(tuple(result.shape)))


@only_n300
@pytest.mark.parametrize("name", families.INTEGER)
def test_integers_are_exact(mesh: Mesh, name: str) -> None:
    (result,), draw = outputs(mesh, name)
    for got, a, b in zip(read(result), *draw.values, strict=True):
        assert torch.equal(got, families.INTEGER[name](a.long(), b.long()))


@pytest.mark.parametrize("device_mesh", ["t3k", "1x1"])
def test_a_handful_on_meshes_of_other_sizes(device_mesh: str) -> None:
    mesh = open_mesh(device_mesh, "simulated")
    try:
        for name in ("softmax", "topk", "where", "sigmoid", "argmax", "multiply_", "split", "relu_bw", "sum"):
            every = [read(tensor) for tensor in outputs(mesh, name)[0]]
            last = mesh.device.get_num_devices() - 1
            assert len(every[0]) == last + 1
            alone = [read(tensor) for tensor in outputs(mesh, name, only=last)[0]]
            assert all(same(whole[last], part[last]) for whole, part in zip(every, alone, strict=True))
    finally:
        mesh.close()
