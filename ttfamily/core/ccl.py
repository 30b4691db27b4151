"""Collectives along the mesh axis that weights are cut over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ttnn

from ttfamily.core.mesh import TENSOR_AXIS

if TYPE_CHECKING:
    from collections.abc import Callable

    from ttfamily.core.mesh import Mesh


def reducer(mesh: Mesh, memory_config: ttnn.MemoryConfig) -> Callable[[ttnn.Tensor], ttnn.Tensor]:
    """Return what follows a row-parallel matmul: the sum of all devices' partial sums, on every device.

    :returns: a function ``[1, 1, rows, width] -> [1, 1, rows, width]`` that frees its input and puts
        its output in ``memory_config``; on one device there is nothing to add.
    """
    if mesh.num_devices == 1:
        return lambda partial: partial

    def all_reduce(partial: ttnn.Tensor) -> ttnn.Tensor:
        total = ttnn.all_reduce(partial, cluster_axis=TENSOR_AXIS, memory_config=memory_config)
        ttnn.deallocate(partial)
        return total

    return all_reduce
