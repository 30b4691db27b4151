"""The ops that the simulated mesh can compute: one function a ttnn op, in torch.

A kernel takes what the op takes, with a :class:`~ttfamily.sim.tensor.Cell` for every tensor, and
returns torch values ``[rows, cols, *local_shape]`` (a tuple for several outputs, the input's own
cell for an op that works in place). The interpreter checks shapes against real ttnn and rounds to
the output's format, so a kernel computes in whatever precision is convenient.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

KERNELS: dict[str, Callable[..., Any]] = {}

# Arguments that say where and how fast, never what: no kernel sees them.
PLACEMENT_ARGUMENTS = frozenset({
    "compute_kernel_config", "core_grid", "cq_id", "memory_config", "num_links", "queue_id",
    "sub_core_grids", "subdevice_id", "topology", "use_multicore",
})  # fmt: skip


def kernel(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the decorated function as the simulator's kernel of the ttnn ops ``names``."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        for name in names:
            KERNELS[f"ttnn.{name}"] = function
        return function

    return register


def load() -> dict[str, Callable[..., Any]]:
    """Import every kernel module and return the table, op name -> kernel."""
    from ttfamily.sim.kernels import attention, cache, collectives, elementwise, matmul, normalization, shape  # noqa: F401

    return KERNELS
