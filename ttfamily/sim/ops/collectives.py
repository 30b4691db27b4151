"""Collectives: a sum, a concatenation or a split over a leading mesh axis.

Sums are taken in float32 and rounded once; a ring on the chips rounds at every hop. The difference
is below one unit in the last place of the format for each device on the ring.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ttfamily.errors import SimulatorError
from ttfamily.sim.row import no_products, once, op

if TYPE_CHECKING:
    from ttfamily.sim.tensor import Cell


def _spread(x: Cell, cluster_axis: int | None, mesh_shape: tuple[int, int]) -> tuple[torch.Tensor, int]:
    """Return the values with the mesh axis in full, and which axis that is."""
    axis = cluster_axis
    if axis is None:
        if 1 not in mesh_shape:
            raise SimulatorError(
                "collective",
                got=f"cluster_axis=None on a {mesh_shape[0]}x{mesh_shape[1]} mesh",
                expected="the mesh axis to work along",
                fix="Pass cluster_axis=0 or cluster_axis=1.",
            )
        axis = 0 if mesh_shape[1] == 1 else 1
    value = x.read()
    sizes = [-1] * value.dim()
    sizes[axis] = mesh_shape[axis]
    return value.expand(sizes), axis


@op("all_reduce", moves=once, multiplies=no_products, link_phases=2)  # a reduce-scatter, then an all-gather
def all_reduce(x: Cell, *, mesh_shape: tuple[int, int], cluster_axis: int | None = None) -> torch.Tensor:
    """Sum over the devices along the axis; every one gets the sum."""
    value, axis = _spread(x, cluster_axis, mesh_shape)
    return value.float().sum(axis, keepdim=True)


@op("reduce_scatter", moves=once, multiplies=no_products, link_phases=1)
def reduce_scatter(x: Cell, dim: int, *, mesh_shape: tuple[int, int], cluster_axis: int | None = None) -> torch.Tensor:
    """Sum over the devices along the axis; device i gets the i-th part of dimension ``dim``."""
    value, axis = _spread(x, cluster_axis, mesh_shape)
    total = value.float().sum(axis, keepdim=True)
    return torch.cat(total.chunk(mesh_shape[axis], dim + 2 if dim >= 0 else dim), axis)


@op("all_gather", moves=once, multiplies=no_products, link_phases=1)
def all_gather(x: Cell, dim: int, *, mesh_shape: tuple[int, int], cluster_axis: int | None = None) -> torch.Tensor:
    """Concatenate the devices' tensors along ``dim``; every device gets the whole."""
    value, axis = _spread(x, cluster_axis, mesh_shape)
    return torch.cat(value.split(1, axis), dim + 2 if dim >= 0 else dim)
