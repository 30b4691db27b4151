"""How the residual stream lies over a mesh and what is exchanged for it: the schemes, their cost, the choice."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import attrs

from ttfamily.errors import LayoutError, PlanError
from ttfamily.tiles import BF16_BYTES, TILE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ttfamily.core.config.spec import ModelSpec
    from ttfamily.core.mesh.boards import Axis, MeshSpec

Phase = Literal["decode", "prefill"]
Scheme = Literal["replicated", "fractured", "two_dimensional"]
PHASES: tuple[Phase, ...] = ("decode", "prefill")


def all_gather_movement(elements: int, axis: Axis) -> float:
    """Bytes that an all-gather of ``elements`` in all moves (tech report 3.3, K N DF in its formulas)."""
    size, devices = elements * BF16_BYTES, axis.devices
    if devices == 1:
        return 0.0
    if axis.topology == "ring":
        return size * devices * math.log2(devices)
    return size / devices * (devices - 1) * devices


def reduce_scatter_movement(elements: int, axis: Axis) -> float:
    """Bytes that a reduce-scatter of partial sums of ``elements`` each moves (tech report 3.3)."""
    return elements * BF16_BYTES * (axis.devices - 1) / axis.devices


def all_reduce_movement(elements: int, axis: Axis) -> float:
    """A reduce-scatter, and an all-gather of what it made (tech report 3.3)."""
    return reduce_scatter_movement(elements, axis) + all_gather_movement(elements, axis)


@attrs.frozen(kw_only=True)
class Alternative:
    """One scheme for one phase.

    :param bytes_per_layer: that all devices together move for a decoder layer.
    :param refused: why it cannot be used, or None.
    """

    scheme: Scheme
    bytes_per_layer: float
    refused: str | None = None


def alternatives(spec: ModelSpec, mesh: MeshSpec, rows: int, columns_out: int) -> tuple[Alternative, ...]:
    """Return every scheme that a mesh of this shape has, the least movement first.

    :param rows: tokens that go through a layer at once, in whole tiles.
    :param columns_out: width of what a layer's column-parallel projections make on the whole mesh.
    """
    tensor = mesh.axes[mesh.tensor_axis]
    stream = rows * spec.hidden_size
    stats = rows * TILE * (1 if spec.norm.kind == "rms" else 2)
    times = 2 if spec.residual == "sequential" else 1  # parallel blocks share one reduction
    norms = 1 if spec.residual == "parallel_shared_norm" else 2
    if mesh.hidden_axis is not None:
        hidden = mesh.axes[mesh.hidden_axis]
        moved = (
            all_reduce_movement(rows * columns_out // tensor.devices, hidden)
            + times * all_reduce_movement(stream // hidden.devices, tensor)
            + norms * all_gather_movement(stats * hidden.devices, hidden)
        )
        parts = hidden.devices
        return (Alternative(scheme="two_dimensional", bytes_per_layer=moved, refused=_uneven(spec, parts)),)
    replicated = Alternative(scheme="replicated", bytes_per_layer=times * all_reduce_movement(stream, tensor))
    if tensor.devices == 1:
        return (replicated,)
    moved = (
        times * reduce_scatter_movement(stream, tensor)
        + norms * all_gather_movement(stream, tensor)
        + norms * all_gather_movement(stats * tensor.devices, tensor)
    )
    fractured = Alternative(scheme="fractured", bytes_per_layer=moved, refused=_uneven(spec, tensor.devices))
    return tuple(sorted((replicated, fractured), key=lambda each: each.bytes_per_layer))


def _uneven(spec: ModelSpec, parts: int) -> str | None:
    if spec.hidden_size % (TILE * parts) == 0:
        return None
    return f"hidden_size {spec.hidden_size} does not fall into {parts} parts of whole tiles"


def choose(found: Mapping[Phase, tuple[Alternative, ...]], asked: Scheme | None, mesh: MeshSpec) -> dict[Phase, Scheme]:
    """Take the scheme that was asked for, else the one that moves least, in each phase.

    :raises LayoutError: if none can be used, or not the one that was asked for.
    :raises PlanError: if the mesh has no such scheme.
    """
    chosen: dict[Phase, Scheme] = {}
    for phase, each in found.items():
        offered = [a for a in each if asked in (None, a.scheme)]
        usable = [a.scheme for a in offered if a.refused is None]
        if not usable:
            kind = LayoutError if offered else PlanError
            raise kind(
                f"mesh {mesh.name!r}, {phase}",
                got="; ".join(a.refused for a in offered if a.refused) or f"scheme={asked!r}",
                expected=f"a scheme out of {', '.join(a.scheme for a in each)} that can be used",
                fix="Use a mesh of one row (1x2, 1x4, 1x8), where the hidden size is not cut, or leave scheme= out.",
            )
        chosen[phase] = usable[0]
    return chosen
