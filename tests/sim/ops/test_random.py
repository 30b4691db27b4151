"""Random numbers: of the right distribution, others on every device and in every call, the same again with a seed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
import ttnn

if TYPE_CHECKING:
    from collections.abc import Callable

    from ttfamily.testing.operands import Operands

SHAPE = (1, 1, 128, 128)
# Of 16,384 numbers: the mean is off by less than 6 of its standard deviations.
OFF = 6 / 128


def chance(bench: Operands, low: float, high: float) -> ttnn.Tensor:
    return bench.put(torch.linspace(low, high, 128 * 128).reshape(SHAPE)).tensor


DRAWS: dict[str, Callable[[Operands, int], ttnn.Tensor]] = {
    "rand": lambda bench, seed: ttnn.rand(SHAPE, bench.mesh.device, low=-1.0, high=3.0, seed=seed),
    "randn": lambda bench, seed: ttnn.randn(SHAPE, bench.mesh.device, layout=ttnn.TILE_LAYOUT, seed=seed),
    "uniform": lambda bench, seed: ttnn.uniform(bench.random(*SHAPE).tensor, 2.0, 4.0, seed=seed),
    "bernoulli": lambda bench, seed: ttnn.bernoulli(chance(bench, 0.0, 1.0), seed=seed),
}
MEAN_AND_SPREAD = {
    "rand": (1.0, 4 / 12**0.5),
    "randn": (0.0, 1.0),
    "uniform": (3.0, 2 / 12**0.5),
    "bernoulli": (0.5, 0.5),
}


@pytest.mark.kernel("ttnn.rand", "ttnn.randn", "ttnn.uniform", "ttnn.bernoulli")
def test_numbers_are_of_the_distribution_that_was_asked_for(bench: Operands) -> None:
    for name, draw in DRAWS.items():
        mean, spread = MEAN_AND_SPREAD[name]
        for part in bench.read(draw(bench, 7)):
            assert abs(float(part.mean()) - mean) < OFF * spread, name
            assert abs(float(part.std()) / spread - 1) < OFF, name


@pytest.mark.parametrize("name", DRAWS)
def test_a_seed_gives_the_same_numbers_again_and_none_gives_others(bench: Operands, name: str) -> None:
    def parts(seed: int) -> list[Any]:
        return bench.read(DRAWS[name](bench, seed))

    first, again, other = parts(5), parts(5), parts(6)
    assert all(map(torch.equal, first, again))
    assert not any(map(torch.equal, first, other))
    assert not any(map(torch.equal, parts(0), parts(0)))


@pytest.mark.parametrize("name", DRAWS)
def test_every_device_draws_its_own_numbers(bench: Operands, name: str) -> None:
    parts = bench.read(DRAWS[name](bench, 5))
    assert not any(torch.equal(parts[0], part) for part in parts[1:])


def test_numbers_in_place_are_in_the_tensors_own_buffer(bench: Operands) -> None:
    x = bench.random(*SHAPE)
    made = ttnn.uniform(x.tensor, 2.0, 4.0, seed=3)
    assert all(map(torch.equal, bench.read(made), bench.read(x.tensor)))


def test_certain_and_impossible_draws(bench: Operands) -> None:
    for value in (0.0, 1.0):
        bench.check(
            ttnn.bernoulli(chance(bench, value, value), seed=3), [torch.full(SHAPE, value)] * bench.mesh.tensor_parallel
        )
