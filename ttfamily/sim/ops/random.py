"""Random numbers: of the distribution that the op draws from, but not the chip's own.

A seed gives the same numbers again, and every device others; without one, torch's global generator gives the seed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ttfamily.errors import SimulatorError
from ttfamily.sim.formats import round_to
from ttfamily.sim.row import in_place, no_products, once, op

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ttfamily.sim.tensor import Cell


def _drawn(
    mesh_shape: tuple[int, int], shape: Sequence[int], seed: int | None, draw: Callable[..., torch.Tensor]
) -> torch.Tensor:
    """``[rows, cols, *shape]``; a seed of 0 or None stands for any."""
    chosen = seed or int(torch.randint(1, 2**31, ()))
    return draw((*mesh_shape, *shape), generator=torch.Generator().manual_seed(chosen))


@op("rand", moves=once, multiplies=no_products)
def rand(
    shape: Sequence[int],
    _device: Any = None,
    *,
    mesh_shape: tuple[int, int],
    device: Any = None,  # noqa: ARG001
    dtype: Any = None,  # noqa: ARG001  (the interpreter rounds to the output's)
    layout: Any = None,  # noqa: ARG001
    low: float = 0.0,
    high: float = 1.0,
    seed: int | None = None,
) -> torch.Tensor:
    """Uniform from ``low`` to ``high``."""
    return _drawn(mesh_shape, shape, seed, torch.rand) * (high - low) + low


@op("randn", moves=once, multiplies=no_products)
def randn(
    shape: Sequence[int],
    _device: Any = None,
    *,
    mesh_shape: tuple[int, int],
    device: Any = None,  # noqa: ARG001
    dtype: Any = None,  # noqa: ARG001
    layout: Any = None,  # noqa: ARG001
    seed: int | None = None,
) -> torch.Tensor:
    """Normal, of mean 0 and variance 1."""
    return _drawn(mesh_shape, shape, seed, torch.randn)


@op("uniform", moves=in_place, multiplies=no_products)
def uniform(x: Cell, *bounds: float, mesh_shape: tuple[int, int], seed: int | None = None, **named: float) -> Cell:
    """Uniform from ``from`` to ``to``, into x's buffer."""
    known = {"from": 0.0, "to": 1.0, **dict(zip(("from", "to"), bounds, strict=False)), **named}
    if known.keys() != {"from", "to"}:
        raise SimulatorError(
            "ttnn.uniform",
            got=f"the arguments {', '.join(sorted(named))}",
            expected="from, to and seed",
            fix="Leave the others out.",
        )
    value = _drawn(mesh_shape, x.read().shape[2:], seed, torch.rand) * (known["to"] - known["from"]) + known["from"]
    x.own(*mesh_shape).copy_(round_to(value, x.dtype))
    return x


@op("bernoulli", moves=once, multiplies=no_products)
def bernoulli(x: Cell, *, mesh_shape: tuple[int, int], seed: int | None = None, dtype: Any = None) -> torch.Tensor:  # noqa: ARG001
    """One with the probability that ``x`` has there, else zero."""
    chance = x.read().float()
    return (_drawn(mesh_shape, chance.shape[2:], seed, torch.rand) < chance).float()
