"""One row an op: no op of the core without one, no row that leaves a part out, no kernel without a test."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ttfamily.errors import SimulatorError
from ttfamily.sim.facts import Op, TensorFacts
from ttfamily.sim.row import DecodePoint
from ttfamily.sim.table import ROWS, row_of

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
BASELINES = sorted((HERE.parent / "baselines").glob("*.json"))
KERNELS = {name for name, row in ROWS.items() if not row.crossing}


def covered() -> Iterator[str]:
    """The ops that a test here claims; that it runs them is checked when the test runs."""
    for path in sorted((HERE / "ops").glob("test_*.py")):
        spec = importlib.util.spec_from_file_location(f"covering_{path.stem}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for function in vars(module).values():
            for mark in getattr(function, "pytestmark", ()):
                if mark.name == "kernel":
                    yield from (name.removeprefix("ttnn.") for name in mark.args)


def test_every_kernel_has_a_test() -> None:
    missing = KERNELS - set(covered())
    assert not missing, f'write a test with @pytest.mark.kernel("ttnn.{min(missing)}") in tests/sim/ops/'


def test_no_test_claims_a_kernel_that_is_gone() -> None:
    assert set(covered()) <= KERNELS


@pytest.mark.parametrize("file", BASELINES, ids=lambda file: file.stem)
def test_every_op_of_every_baseline_has_a_row(file: Path) -> None:
    baseline = json.loads(file.read_text())
    streams = baseline["decode"]["ops"], baseline["prefill"]["ops"]
    assert all(streams)
    for name in {*streams[0], *streams[1]}:
        assert not row_of(name).crossing


def tensor(*shape: int, buffer: int, memory: str = "dram_interleaved") -> TensorFacts:
    size = 2 * shape[0] * shape[1] * shape[2] * shape[3]
    return TensorFacts(
        shape=shape, dtype="BFLOAT16", layout="tile", memory=memory, bytes=size, held=size, cores=0, buffer=buffer
    )


# Sizes that every op takes: 8 tokens in a cache of 64 blocks, through a table of 2 pages.
INPUTS = {"0": tensor(1, 4, 32, 64, buffer=1), "1": tensor(64, 2, 32, 64, buffer=2)}
CALL = {
    "inputs": {**INPUTS, "2": tensor(64, 2, 32, 64, buffer=3), "3": tensor(1, 1, 1, 2, buffer=4)},
    "outputs": (tensor(1, 4, 32, 64, buffer=5),),
    "programs": ("Some",),
    "config": {"q_chunk_size": 32, "k_chunk_size": 32, "cores": 64},
}


@pytest.mark.parametrize("name", sorted(ROWS))
def test_a_row_says_what_its_op_moves_and_multiplies(name: str) -> None:
    row, call = ROWS[name], Op(name=name, **CALL)
    moved = row.moves(call, DecodePoint(users=2, position=40))
    assert row.multiplies(call) >= 0
    if row.crossing:  # no program
        assert (moved.read, moved.written, row.multiplies(call)) == ({}, 0, 0)
        return
    assert set(moved.read) == set(moved.needed) == set(call.inputs)
    assert moved.written > 0 or "cache" in name
    for label, size in call.inputs.items():
        assert 0 <= moved.needed[label] <= min(moved.read[label], size.bytes)


def test_what_lies_in_l1_is_no_traffic() -> None:
    x, out = tensor(1, 1, 32, 64, buffer=1, memory="l1"), tensor(1, 1, 32, 64, buffer=2, memory="l1")
    moved = row_of("add").moves(Op(name="add", inputs={"0": x, "1": x}, outputs=(out,)), DecodePoint())
    assert (moved.read, moved.written) == ({}, 0)


def test_an_op_without_a_row_is_named_with_what_to_do() -> None:
    with pytest.raises(SimulatorError) as error:
        row_of("sin")
    assert (error.value.who, error.value.got) == ("ttnn.sin", "an op without a row")
    assert "@op(" in error.value.fix


def test_attention_without_a_program_config_is_named() -> None:
    call = Op(name="transformer.scaled_dot_product_attention", **{**CALL, "config": {}})
    with pytest.raises(SimulatorError, match=r"ttnn\.transformer\.scaled.*got a call without q_chunk_size"):
        row_of(call.name).multiplies(call)


def test_a_tensor_that_is_not_where_its_row_looks_is_named() -> None:
    call = Op(name="linear", inputs={"0": INPUTS["0"], "weight": INPUTS["1"]}, outputs=())
    with pytest.raises(SimulatorError, match=r"ttnn\.linear: got a call without a tensor at position 1"):
        row_of(call.name).multiplies(call)
