"""From times to constants, with a device whose bandwidths are known and a clock that is a number."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttfamily.planning.hardware import WORMHOLE
from ttfamily.planning.measured import CONSTANTS, constants_of
from ttfamily.verify.constants import Exchange, Pair, constants
from ttfamily.verify.measure import Stopwatch, Times

RATES = st.floats(1e8, 1e12)
MOMENTS = st.floats(1e-7, 1e-4)
OVERHEADS = st.floats(0.0, 1e-2)
SIZES = st.tuples(st.integers(1, 10**6), st.integers(2, 64)).map(lambda pair: (pair[0] * 32, pair[0] * 32 * pair[1]))


@attrs.define
class FakeDevice:
    """Runs things in no time, but for its clock."""

    now: float = 0.0
    synchronized: int = 0

    def takes(self, seconds: float) -> Any:
        def run() -> None:
            self.now += seconds

        return run

    def synchronize(self) -> None:
        self.synchronized += 1

    def times(self, seconds: float) -> Times | None:
        stopwatch = Stopwatch(synchronize=self.synchronize, clock=lambda: self.now, repeats=5)
        return stopwatch.times(self.takes(seconds))


def pair(name: str, sizes: tuple[float, float], seconds_per_unit: float, overhead: float) -> Pair:
    device = FakeDevice()
    small, large = (device.times(overhead + size * seconds_per_unit) for size in sizes)
    return Pair(name=name, sizes=sizes, times=(small, large))


@given(SIZES, RATES, OVERHEADS)
def test_a_bandwidth_comes_out_whatever_starting_a_trace_takes(
    sizes: tuple[int, int], rate: float, overhead: float
) -> None:
    found = constants({"dram_sharded": pair("matmuls", sizes, 1 / rate, overhead)}, None)
    least = (sizes[1] - sizes[0]) / rate
    accuracy = max(1e-6, 1e-12 * (1 + overhead) / least)  # of the clock's own numbers
    assert found["dram_sharded"] == pytest.approx(rate, rel=accuracy)


@given(MOMENTS, OVERHEADS)
def test_a_cost_per_op_comes_out(seconds: float, overhead: float) -> None:
    found = constants({"dispatch": pair("ops", (16, 128), seconds, overhead)}, None)
    assert found["dispatch"] == pytest.approx(seconds, rel=1e-6)


@given(st.floats(1e9, 1e14))
def test_flops_come_out_of_tile_products(flops: float) -> None:
    found = constants({"flops_HiFi2": pair("matmuls", (1000, 4000), 2 * 32**3 / flops, 1e-5)}, None)
    assert found["flops_HiFi2"] == pytest.approx(flops, rel=1e-4)


@given(RATES, MOMENTS, MOMENTS, st.integers(1, 4), st.integers(1, 14))
def test_link_and_hop_come_out_of_one_collective(
    link: float, hop: float, dispatch: float, links: int, hops: int
) -> None:
    sizes, overhead = (65536.0, 65536.0 * 64), 3e-5
    fixed = dispatch + hops * hop
    exchange = Exchange(
        pair=pair("all_gather", sizes, 1 / (link * links), overhead + fixed),
        repeated=pair("small", (1, 9), fixed + sizes[0] / (link * links), overhead),
        links=links,
        hops=hops,
    )
    found = constants({"dispatch": pair("ops", (16, 128), dispatch, overhead)}, exchange)
    assert found["link"] == pytest.approx(link, rel=1e-3)
    assert found["hop"] == pytest.approx(hop, rel=1e-2, abs=1e-10)


@given(SIZES, OVERHEADS)
def test_times_that_do_not_grow_measure_nothing(sizes: tuple[int, int], overhead: float) -> None:
    device = FakeDevice()
    same = Pair(name="reads", sizes=sizes, times=(device.times(overhead), device.times(overhead / 2)))
    assert constants({"pcie": same}, None) == {"pcie": None}


def test_a_simulated_mesh_runs_everything_once_and_takes_no_time() -> None:
    device, runs = FakeDevice(), []
    stopwatch = Stopwatch(synchronize=device.synchronize, clock=lambda: 1 / 0, meaningful=False)
    assert stopwatch.times(lambda: runs.append(1)) is None
    assert (runs, device.synchronized) == ([1], 1)
    empty = Pair(name="reads", sizes=(1, 2), times=(None, None))
    exchange = Exchange(pair=empty, repeated=empty, links=1, hops=1)
    assert set(constants({"pcie": empty, "dispatch": empty}, exchange).values()) == {None}


def test_the_first_run_is_not_timed_and_each_other_waits_for_the_device() -> None:
    device, runs = FakeDevice(), []

    def run() -> None:
        device.now += 100.0 if not runs else 1.0
        runs.append(1)

    times = Stopwatch(synchronize=device.synchronize, clock=lambda: device.now, repeats=3).times(run)
    assert times == Times(seconds=(1.0, 1.0, 1.0))
    assert device.synchronized == 4


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_half_of_the_runs_take_no_longer_than_the_median_and_nine_in_ten_no_longer_than_p90(
    seconds: list[float],
) -> None:
    times = Times(seconds=tuple(seconds))
    for limit, share in ((times.median, 0.5), (times.p90, 0.9)):
        assert sum(each <= limit for each in seconds) >= share * len(seconds)


def test_every_constant_of_a_chip_is_among_those_that_are_measured() -> None:
    known = {field.name for field in attrs.fields(type(WORMHOLE))} - {"name", "dram_peak", "flops_per_core"}
    assert {name for name in CONSTANTS if not name.startswith("flops_")} == known
    assert constants_of(WORMHOLE)["flops_LoFi"] == WORMHOLE.flops_per_core["LoFi"]
