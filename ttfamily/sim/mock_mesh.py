"""An open mesh of the mock cluster, as the functions that stand in for ttnn's see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import attrs
import ttnn

from ttfamily.sim.allocations import Allocations
from ttfamily.sim.trace import TraceRecorder

if TYPE_CHECKING:
    from collections.abc import Callable

    from ttfamily.arch import Arch

Numerics = Literal["fast", "engine"]


@attrs.frozen(eq=False)
class MockMesh:
    """One open mesh.

    :param device: the open ttnn mesh.
    :param computes: True for a simulated mesh, False for a dry one (ops are validated and allocated,
        weights are never filled, and reading a result is an error).
    :param numerics: how kernels add: ``fast``, in float32 and rounded once, or ``engine``, as the matrix engine does.
    :param arch: of its chips.
    :ivar shape: rows and columns of chips.
    :ivar allocations: the buffers that tensors with values have.
    :ivar split: ttnn's own ``get_device_tensors``, which knows buffers and no values.
    """

    device: ttnn.MeshDevice
    computes: bool = attrs.field(kw_only=True)
    numerics: Numerics = attrs.field(kw_only=True, default="fast")
    arch: Arch = attrs.field(kw_only=True, default="wormhole_b0")
    shape: tuple[int, int] = attrs.field(init=False)
    allocations: Allocations = attrs.field(init=False)
    traces: TraceRecorder = attrs.field(init=False)
    split: Callable[[ttnn.Tensor], list[Any]] = attrs.field(init=False)

    @shape.default
    def _shape(self) -> tuple[int, int]:
        rows, columns = self.device.shape
        return rows, columns

    @allocations.default
    def _allocations(self) -> Allocations:
        return Allocations(self.device)

    @traces.default
    def _traces(self) -> TraceRecorder:
        return TraceRecorder(self.device, self.allocations)

    @split.default
    def _split(self) -> Any:
        return ttnn.get_device_tensors
