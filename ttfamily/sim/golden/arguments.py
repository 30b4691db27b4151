"""Which arguments of a call a golden function takes: most end in ``*args, **kwargs`` and drop what they do not know.

ttnn's comparison mode calls them with everything that the op was called with. Here an argument that changes the
result and would be dropped is an error, so a signature is not enough: a catch-all that the function never looks
at drops what it catches, one that it passes on may be taken by the function that gets it.
"""

from __future__ import annotations

import dis
import functools
import inspect
from types import FunctionType
from typing import TYPE_CHECKING, Any

import ttnn

from ttfamily.errors import SimulatorError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

# Say where, in what layout or how fast. The format of a result is that of ttnn's output, which it is rounded to.
PLACEMENT = frozenset({
    "applied_shard_scheme", "compute_config", "compute_kernel_config", "config_tensor_in_dram", "conv_config",
    "core_grid", "cq_id", "device", "dram_slice_config", "dtype", "grid_size", "is_distributed", "layout",
    "memory_config", "mesh_device", "num_cores", "num_links", "num_workers_per_link", "output_dtype", "output_layout",
    "output_mem_config", "program_config", "queue_id", "reallocate_halo_output", "reallocate_output", "shard_spec",
    "slice_config", "sub_core_grids", "subdevice_id", "topology", "use_low_perf", "use_multicore",
})  # fmt: skip
PLACEMENT_TYPES = (
    ttnn.MemoryConfig,
    ttnn.MeshDevice,
    ttnn.Layout,
    ttnn.DataType,
    ttnn.CoreRangeSet,
    ttnn.TensorMemoryLayout,
    ttnn.ShardOrientation,
    ttnn.CoreGrid,
    type(None),
)
# Arguments with which ttnn is told to be exact, or to do what it does without them: nothing is lost with them.
WITHOUT_EFFECT: Mapping[str, tuple[Any, ...]] = {
    "approximate": (False,),
    "fast_and_approximate_mode": (False,),
    "pad_value": (None,),
    "deallocate_input": (False,),
    "return_indices": (False,),
    "return_output_dim": (False,),
    "return_weights_and_bias": (False,),
    "numeric_stable": (True, False),  # of a softmax: subtract the maximum first, which the reference always does
    "inplace": (True, False),  # seen by the buffer that ttnn returns
    "vector_mode": (4,),  # the whole tile
}


def kept(
    op: str, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments of a call of ``op`` that its golden function gets.

    :raises SimulatorError: if the function would drop one that is not of :data:`PLACEMENT`.
    """
    room = _positions(function)
    taken = list(args)
    if room is not None and len(taken) > room:
        for position, value in enumerate(taken[room:], room):
            if not isinstance(value, PLACEMENT_TYPES):
                raise _dropped(op, f"argument {position + 1} ({value!r})")
        del taken[room:]
    named = {}
    for name, value in kwargs.items():
        if takes(function, name):
            named[name] = value
        elif not (
            name in PLACEMENT
            or value is None
            or name.startswith("_ttnn")  # what ttnn's preparation adds
            or any(value is harmless for harmless in WITHOUT_EFFECT.get(name, ()))
            or (isinstance(value, int) and value in WITHOUT_EFFECT.get(name, ()))
        ):
            raise _dropped(op, f"{name}={value!r}")
    return taken, named


@functools.cache
def takes(function: Callable[..., Any], name: str) -> bool:
    """Whether a named argument can make a difference to ``function``, or to one that it passes its own on to."""
    parameters = inspect.signature(function).parameters
    named = parameters.get(name)
    if named is not None and named.kind is not named.VAR_POSITIONAL and named.kind is not named.VAR_KEYWORD:
        return True
    catch_all = _of_kind(function, inspect.Parameter.VAR_KEYWORD)
    if catch_all is None or not _loads(function, catch_all):
        return False
    code = _code(function)
    if code is not None and name in code.co_consts:
        return True
    return any(takes(callee, name) for callee in _callees(function))


@functools.cache
def _positions(function: Callable[..., Any]) -> int | None:
    """How many positional arguments make a difference; None if a catch-all for them is used."""
    catch_all = _of_kind(function, inspect.Parameter.VAR_POSITIONAL)
    if catch_all is not None and _loads(function, catch_all):
        return None
    parameters = inspect.signature(function).parameters.values()
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


def _of_kind(function: Callable[..., Any], kind: Any) -> str | None:
    return next((p.name for p in inspect.signature(function).parameters.values() if p.kind is kind), None)


def _code(function: Callable[..., Any]) -> Any:
    return getattr(function, "__code__", None)


def _loads(function: Callable[..., Any], variable: str) -> bool:
    """Whether the function's code reads its own variable; code that cannot be seen counts as reading it."""
    code = _code(function)
    return code is None or any(
        step.argval == variable and step.opname.startswith("LOAD") for step in dis.get_instructions(code)
    )


def _callees(function: Callable[..., Any]) -> Iterator[FunctionType]:
    """The Python functions that ``function`` can name: of its closure and of its module."""
    code = _code(function)
    if code is None:
        return
    cells = [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
    named = [function.__globals__.get(name) for name in code.co_names]
    for value in (*cells, *named):
        if isinstance(value, FunctionType) and value is not function:
            yield value


def _dropped(op: str, argument: str) -> SimulatorError:
    return SimulatorError(
        op,
        got=f"{argument}, which ttnn's golden function of this op does not know",
        expected="a call whose arguments all count in the simulated result",
        fix="Leave it out, or add a kernel of the op to ttfamily/sim/ops/, and its test.",
    )
