"""What ttnn has in C++, where no Python code sees a call: methods of a tensor and plain functions that move tensors.

While a mesh is open each of them goes to the function of the ttnn module that does the same, which is seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ttnn

from ttfamily.sim.tensor import is_on_device

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def _to(tensor: ttnn.Tensor, *args: Any, **kwargs: Any) -> ttnn.Tensor:
    """``x.to(device, memory_config)`` and ``x.to(layout)``."""
    names = {"mem_config": "memory_config", "cq_id": "queue_id", "target_layout": "layout"}
    named = {names.get(name, name): value for name, value in kwargs.items()}
    if "layout" in named or (args and isinstance(args[0], ttnn.Layout)):
        return ttnn.to_layout(tensor, *args, **named)
    if len(args) > 2:  # noqa: PLR2004 -- the function takes the queue by name
        *args, named["queue_id"] = args  # type: ignore[assignment]
    return ttnn.to_device(tensor, *args, **named)


def _reshape(tensor: ttnn.Tensor, *shape: Any) -> ttnn.Tensor:
    """``x.reshape(1, 1, 32, 64)`` and ``x.reshape((1, 1, 32, 64))``."""
    return ttnn.reshape(tensor, shape[0] if len(shape) == 1 else shape)


def _cpu(tensor: ttnn.Tensor, blocking: bool = True, cq_id: int | None = None) -> ttnn.Tensor:
    return ttnn.from_device(tensor, blocking, queue_id=cq_id)


METHODS: Mapping[str, Callable[..., Any]] = {
    "cpu": _cpu,
    "deallocate": lambda tensor, force=False: ttnn.deallocate(tensor, force),
    "item": lambda tensor: ttnn.from_device(tensor).item(),
    "reshape": _reshape,
    "to": _to,
    "to_list": lambda tensor: ttnn.from_device(tensor).to_list(),
    "to_numpy": lambda tensor, mesh_composer=None: ttnn.from_device(tensor).to_numpy(mesh_composer),
    "to_torch": lambda tensor, mesh_composer=None: ttnn.from_device(tensor).to_torch(mesh_composer),
}
OF_HOST_TOO = ("to",)  # the others of a host tensor are C++'s own, with its values


def watched_method(name: str, is_nested: Callable[[], bool]) -> Callable[..., Any]:
    """Return what stands in for the method ``name`` of ``ttnn.Tensor``.

    :param is_nested: whether an op is running, whose own calls go to ttnn.
    """
    own, function = getattr(ttnn.Tensor, name), METHODS[name]

    def method(tensor: ttnn.Tensor, *args: Any, **kwargs: Any) -> Any:
        if is_nested() or not (is_on_device(tensor) or name in OF_HOST_TOO):
            return own(tensor, *args, **kwargs)
        return function(tensor, *args, **kwargs)

    return method


def aggregate(own: Callable[..., Any], tensor: ttnn.Tensor, *args: Any, **kwargs: Any) -> ttnn.Tensor:
    """``ttnn.aggregate_tensor``, which reads the devices' buffers."""
    return own(ttnn.from_device(tensor), *args, **kwargs)


def distribute(
    own: Callable[..., Any], tensor: ttnn.Tensor, mapper: Any, mesh_device: ttnn.MeshDevice | None = None
) -> ttnn.Tensor:
    """``ttnn.distribute_tensor``, to the host's shards and from there to the devices."""
    shards = own(tensor, mapper)
    return shards if mesh_device is None else ttnn.to_device(shards, mesh_device)
