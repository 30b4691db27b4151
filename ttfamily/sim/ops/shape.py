"""Ops that move values and compute none, and the embedding look-up."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from ttfamily.errors import SimulatorError
from ttfamily.sim.row import moved, no_products, once, op
from ttfamily.sim.tensor import Cell, same_everywhere
from ttfamily.tiles import BF16_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ttfamily.sim.facts import Op
    from ttfamily.sim.row import DecodePoint, Moved


# ---- ops that move values; where they find their input as it should be they are views, and dispatch nothing


@op(
    "to_memory_config",
    "sharded_to_interleaved",
    "interleaved_to_sharded",
    "to_layout",
    "tilize",
    "untilize",
    "clone",
    moves=once,
    multiplies=no_products,
)
def move(x: Cell, *where: Any, layout: Any = None, dtype: Any = None) -> torch.Tensor:  # noqa: ARG001
    """Change place, layout or format; the interpreter rounds to the output's, else the values stay."""
    return x.read()


@op("reshape", moves=once, multiplies=no_products)
def reshape(x: Cell, shape: Sequence[int], padded_shape: Sequence[int] | None = None) -> torch.Tensor:
    """Give the values another shape.

    With ``padded_shape`` the buffer is reinterpreted: the logical shape may then cut rows off (or
    bring padding rows back, which hold nothing).
    """
    value = x.read()
    mesh, local = value.shape[:2], tuple(shape)
    if padded_shape is None:
        return value.reshape(*mesh, *local)
    # In the same buffer only the row count can differ: rows are cut off, or are padding that may hold anything.
    rows, had = local[-2], value.shape[-2]
    if (*local[:-2], local[-1]) != (*value.shape[2:-2], value.shape[-1]):
        raise SimulatorError(
            "ttnn.reshape",
            got=f"the shape {local} with a padded shape, for a tensor of shape {tuple(value.shape[2:])}",
            expected="a padded shape only where nothing but the number of rows changes",
            fix="Add the case to ttfamily/sim/ops/shape.py, and its test.",
        )
    if rows <= had:
        return value[..., :rows, :].reshape(*mesh, *local)
    filler = value.new_full((*value.shape[:-2], rows - had, value.shape[-1]), float("nan"))
    return torch.cat([value, filler], -2).reshape(*mesh, *local)


@op("unsqueeze_to_4D", moves=once, multiplies=no_products)
def unsqueeze_to_4d(x: Cell) -> torch.Tensor:
    """Put ones in front until there are four dimensions."""
    value = x.read()
    return value.reshape(*value.shape[:2], *[1] * (6 - value.dim()), *value.shape[2:])


@op("transpose", moves=once, multiplies=no_products)
def transpose(x: Cell, dim1: int, dim2: int) -> torch.Tensor:
    """Swap two dimensions."""
    first, second = (d + 2 if d >= 0 else d for d in (dim1, dim2))
    return x.read().transpose(first, second)


@op("permute", moves=once, multiplies=no_products)
def permute(x: Cell, dims: Sequence[int]) -> torch.Tensor:
    """Reorder the dimensions."""
    rank = x.read().dim() - 2
    return x.read().permute(0, 1, *[d % rank + 2 for d in dims])


def _cut_out(call: Op, _point: DecodePoint) -> Moved:
    """Only what is cut out is read."""
    return moved(call, read={"0": min(call.input(0).bytes, sum(tensor.bytes for tensor in call.outputs))})


@op("slice", moves=_cut_out, multiplies=no_products)
def slice_(
    x: Cell,
    starts: Sequence[int] | Cell,
    ends: Sequence[int] | Cell,
    steps: Sequence[int] | None = None,
    *,
    slice_dim: int | None = None,
    num_devices: int | None = None,
) -> torch.Tensor:
    """Cut ``[start, end)`` out of every dimension.

    Where the corners are tensors, the output has one of ``num_devices`` equal parts of dimension ``slice_dim``, as
    ttnn has it, wherever it begins.
    """
    value = x.read()
    begin, end = (same_everywhere(at).tolist() if isinstance(at, Cell) else list(at) for at in (starts, ends))
    if slice_dim is not None and num_devices is not None:
        part = value.shape[slice_dim + 2] // num_devices
        if end[slice_dim] - begin[slice_dim] != part:
            raise SimulatorError(
                "ttnn.slice",
                got=f"corners {begin} and {end}, and {num_devices} parts of dimension {slice_dim}",
                expected=f"corners that are {part} apart there: the chip cuts out one part, whatever the second says",
                fix="Correct the corners, or num_devices.",
            )
    cuts = [slice(a, b, s) for a, b, s in zip(begin, end, steps or [1] * len(begin), strict=True)]
    where = (slice(None), slice(None), *cuts)
    return value[where]


@op("concat", moves=once, multiplies=no_products)
def concat(tensors: Sequence[Cell], dim: int = 0) -> torch.Tensor:
    """Join along ``dim``."""
    values = [t.read() for t in tensors]
    rows, cols = (max(v.shape[i] for v in values) for i in (0, 1))
    full = [v.expand(rows, cols, *v.shape[2:]) for v in values]
    return torch.cat(full, dim + 2 if dim >= 0 else dim)


# ---- look-up


def _rows_looked_up(call: Op, _point: DecodePoint) -> Moved:
    """Of the table, only the rows that are looked up are read."""
    ids, table = call.input(0), call.input(1)
    return moved(call, read={"1": math.prod(ids.shape) * table.shape[-1] * BF16_BYTES})


@op("embedding", moves=_rows_looked_up, multiplies=no_products)
def embedding(tokens: Cell, table: Cell, *, layout: Any = None, dtype: Any = None) -> torch.Tensor:  # noqa: ARG001
    """Rows of the table, ``[batch, tokens, width]``; ids of shape ``[1, 1, batch, tokens]`` or ``[batch, tokens]``."""
    ids, rows = tokens.read().long(), table.read()
    if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < rows.shape[-2]:
        raise SimulatorError(
            "ttnn.embedding",
            got=f"row numbers from {int(ids.min())} to {int(ids.max())}",
            expected=f"0 to {rows.shape[-2] - 1}, the rows of the table",
            fix="The chip would read past the table: correct the ids.",
        )
    ids = ids.reshape(*ids.shape[:2], *ids.shape[-2:])
    rows = rows.reshape(*rows.shape[:2], *rows.shape[-2:])
    if rows.shape[:2] == (1, 1):
        return rows[0, 0][ids]
    mesh = (max(ids.shape[0], rows.shape[0]), max(ids.shape[1], rows.shape[1]))
    index = ids.expand(*mesh, *ids.shape[2:]).flatten(2)[..., None].expand(-1, -1, -1, rows.shape[-1])
    found = rows.expand(*mesh, *rows.shape[2:]).gather(2, index)
    return found.reshape(*mesh, *ids.shape[2:], rows.shape[-1])
