"""Times, worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttfamily.core.mesh.boards import Axis
from ttfamily.planning.hardware import WORMHOLE
from ttfamily.planning.roofline import decode_time, hops, link_bytes, op_time, prefill_time
from ttfamily.planning.stream import Stream
from ttfamily.planning.traffic import Roles
from ttfamily.sim.facts import Op, TensorFacts
from ttfamily.sim.row import DecodePoint

ALONE = (Axis(devices=1), Axis(devices=1))


def tensor(*shape: int, memory: str, tile: int = 2048, cores: int = 0, buffer: int = 0, dtype: str = "BFLOAT16") -> Any:
    tiles = shape[0] * shape[1] * -(-shape[2] // 32) * -(-shape[3] // 32)
    return TensorFacts(
        shape=shape,
        dtype=dtype,
        layout="tile",
        memory=memory,
        bytes=tiles * tile,
        held=0,
        cores=cores,
        buffer=buffer,
    )


def decode_matmul(k: int, n: int, fidelity: str, dtype: str = "BFLOAT8_B", tile: int = 1088) -> Op:
    return Op(
        name="linear",
        inputs={
            "0": tensor(1, 1, 32, k, memory="l1"),
            "1": tensor(1, 1, k, n, memory="dram_sharded", tile=tile, cores=12, buffer=1, dtype=dtype),
        },
        outputs=(tensor(1, 1, 32, n, memory="l1", buffer=2),),
        programs=("Matmul",),
        fidelity=fidelity,
        config={"num_workers_per_dram_bank": 1, "per_core_M": 1, "per_core_N": 1},
    )


def test_a_decode_matmul_reads_at_the_rate_of_sharded_weights() -> None:
    time = op_time(decode_matmul(4096, 12 * 1024, "HiFi2"), WORMHOLE, ALONE, Roles([]))
    assert time.dram == pytest.approx(4096 * 12 * 1024 * 1088 / 1024 / 240e9)
    assert time.limit == "dram"
    assert time.seconds == pytest.approx(time.dram + 4e-6)


def test_a_decode_matmul_of_bfp8_in_hifi4_would_be_bound_by_compute_as_the_tech_report_says() -> None:
    assert op_time(decode_matmul(4096, 12 * 1024, "HiFi4"), WORMHOLE, ALONE, Roles([])).limit == "compute"


def test_a_prefill_matmul_takes_as_long_as_its_busiest_core() -> None:
    op = Op(
        name="linear",
        inputs={
            "0": tensor(1, 2, 1024, 4096, memory="dram_interleaved"),
            "1": tensor(1, 1, 4096, 4096, memory="dram_sharded", cores=12, buffer=1),
        },
        outputs=(tensor(1, 2, 1024, 4096, memory="dram_interleaved", buffer=2),),
        programs=("Matmul",),
        fidelity="HiFi4",
        config={"per_core_M": 4, "per_core_N": 16, "cores": 64},
    )
    time = op_time(op, WORMHOLE, ALONE, Roles([]))
    assert time.compute == pytest.approx(2 * 2048 * 4096 * 4096 / (74e12 * 64 / 72))
    assert time.limit == "compute"


@given(st.integers(2, 8), st.integers(1, 4), st.integers(1, 10**6))
def test_an_all_reduce_is_two_rounds_over_the_links(devices: int, links: int, tiles: int) -> None:
    axis = Axis(devices=devices, links=links)
    part = TensorFacts(
        shape=(1, 1, 32, 32 * tiles), dtype="BFLOAT16", layout="tile", memory="l1", bytes=2048 * tiles, held=0,
        cores=0, buffer=1,
    )  # fmt: skip
    op = Op(name="all_reduce", inputs={"0": part}, outputs=(part,), programs=("ReduceScatter", "AllGather"), axis=1)
    time = op_time(op, WORMHOLE, (Axis(devices=1), axis), Roles([]))
    sent = 2048 * tiles * (devices - 1) / devices
    assert time.links == pytest.approx(2 * (sent / (links * 12.5e9) + (devices - 1) * 0.8e-6))
    assert time.dispatch == pytest.approx(8e-6)


@given(st.integers(2, 8), st.integers(1, 10**9))
def test_a_ring_sends_half_as_much_one_way_and_half_as_far(devices: int, whole: int) -> None:
    line, ring = Axis(devices=devices), Axis(devices=devices, topology="ring")
    assert link_bytes(whole, ring) == pytest.approx(link_bytes(whole, line) / 2)
    assert hops(ring) == devices // 2 <= hops(line) == devices - 1


@given(st.integers(1, 50), st.integers(1, 500))
def test_the_split_adds_up_and_no_step_beats_its_memory(ops: int, calls: int) -> None:
    stream = Stream(ops=(decode_matmul(512, 12 * 32, "HiFi2"),) * ops, calls=ops + calls, dram_span=0)
    step = decode_time(stream, WORMHOLE, ALONE, Roles([]), DecodePoint(), logits_bytes=64)
    first = prefill_time(stream, WORMHOLE, ALONE, Roles([]), logits_bytes=64)
    for time in (step, first):
        assert sum(time.split.values()) == pytest.approx(time.seconds)
        assert time.seconds > sum(op.inputs["1"].bytes for op in stream.ops) / WORMHOLE.dram_peak
    assert first.seconds >= stream.calls * WORMHOLE.host_call
