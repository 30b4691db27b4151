"""How a tensor is laid over the mesh: what ttnn's mappers do to the values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ttnn

from ttfamily.errors import SimulatorError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch


def shard(x: torch.Tensor, mapper: Any, mesh_shape: tuple[int, int]) -> torch.Tensor:
    """Cut ``x`` over the mesh as ``mapper`` says: ``[rows | 1, cols | 1, *local_shape]``.

    A mesh axis along which the tensor is replicated has size 1. The result is a view of ``x``.
    """
    for axis, dim in _cuts(mapper, mesh_shape):
        parts = mesh_shape[axis]
        if x.shape[dim] % parts:
            raise SimulatorError(
                "ttnn.from_torch",
                got=f"a mapper that cuts dimension {dim} of {tuple(x.shape)} into {parts}",
                expected=f"a multiple of {parts}",
                fix="Pad the tensor before it is put on the mesh.",
            )
    out = x[None, None]
    for axis, dim in _cuts(mapper, mesh_shape):
        place = dim % x.dim() + 2
        out = out.unflatten(place, (mesh_shape[axis], -1)).movedim(place, axis).squeeze(axis + 1)
    return out


def _cuts(mapper: Any, mesh_shape: tuple[int, int]) -> Sequence[tuple[int, int]]:
    """Return (mesh axis, tensor dimension) for every axis that the mapper cuts."""
    if mapper is None:
        return ()
    mapper = mapper.unwrap() if hasattr(mapper, "unwrap") else mapper
    placements = list(mapper.config().placements)
    if len(placements) == 1:  # a 1-D mapper sees the mesh as one line
        if 1 not in mesh_shape and isinstance(placements[0], ttnn.PlacementShard):
            raise SimulatorError(
                "ttnn.from_torch",
                got=f"a one-dimensional mapper on a {mesh_shape[0]}x{mesh_shape[1]} mesh",
                expected="one placement for each mesh axis",
                fix="Use ttnn.create_mesh_mapper with two placements.",
            )
        placements = [placements[0] if n > 1 else None for n in mesh_shape]
    return [
        (axis, placement.dim)
        for axis, placement in enumerate(placements)
        if isinstance(placement, ttnn.PlacementShard) and mesh_shape[axis] > 1
    ]
