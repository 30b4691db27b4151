"""One row an op: what it computes, what it moves, what it multiplies, what it takes of L1 and of the links.

A row stands over the op's simulator kernel: ``@op("add", moves=once, multiplies=no_products)``. The
simulated mesh reads the kernel, a plan the rest; :mod:`ttfamily.sim.table` has all rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from ttfamily.sim.facts import Op


@attrs.frozen(kw_only=True)
class DecodePoint:
    """Where the users of a decode step are: what flash decode reads depends on it.

    :param users: each at ``position``.
    :param position: of the token that goes in; it sees itself and what is before it.
    """

    users: int = 1
    position: int = 0


@attrs.frozen(kw_only=True)
class Moved:
    """Bytes between one chip and its DRAM in one call.

    :param read: by input.
    :param needed: by input: the least that any program would read of it.
    :param written: activations, keys and values.
    """

    read: Mapping[str, int]
    needed: Mapping[str, int]
    written: int


Kernel = Callable[..., Any]
Moves = Callable[["Op", DecodePoint], Moved]
Products = Callable[["Op"], float]
Buffers = Callable[["Op"], "int | None"]


@attrs.frozen(kw_only=True)
class Row:
    """What ttfamily knows of one op.

    :param kernel: computes the outputs in torch. It takes what the op takes, with a
        :class:`~ttfamily.sim.tensor.Cell` for every tensor, and returns torch values
        ``[rows, cols, *local_shape]`` (a tuple for several outputs, the input's own cell for an op in place).
        The interpreter checks shapes against real ttnn and rounds to the output's format, so a kernel
        computes in whatever precision is convenient. For a crossing: what stands in for the op.
    :param moves: DRAM traffic of a call.
    :param multiplies: tile products that the core with the most work makes in a call.
    :param buffers: bytes of that core's L1 for the program's own buffers; None, or a function that returns
        None, where ttnn's graph names them.
    :param link_phases: of a collective: how often the parts of the whole tensor go over the links.
    :param crossing: whether values cross between host and device in it: it dispatches no program.
    """

    kernel: Kernel
    moves: Moves
    multiplies: Products
    buffers: Buffers | None = None
    link_phases: int = 0
    crossing: bool = False


REGISTERED: dict[str, Row] = {}  # by op, without "ttnn."


def op(
    *names: str, moves: Moves, multiplies: Products, buffers: Buffers | None = None, link_phases: int = 0
) -> Callable[[Kernel], Kernel]:
    """Register the decorated kernel, with the rest of its row, as that of the ttnn ops ``names``."""

    def register(kernel: Kernel) -> Kernel:
        row = Row(kernel=kernel, moves=moves, multiplies=multiplies, buffers=buffers, link_phases=link_phases)
        REGISTERED.update(dict.fromkeys(names, row))
        return kernel

    return register


def crossing(name: str) -> Callable[[Kernel], Kernel]:
    """Register what stands in for the ttnn function ``name``, which moves values between host and device.

    It is called with the :class:`~ttfamily.sim.mock_mesh.MockMesh`, ttnn's own function, and the arguments of
    the call. Its row says that it dispatches nothing: no traffic and no products of a program.
    """

    def register(function: Kernel) -> Kernel:
        REGISTERED[name] = Row(kernel=function, moves=by_host, multiplies=no_products, crossing=True)
        return function

    return register


def moved(
    call: Op,
    *,
    read: Mapping[str, int] | None = None,
    needed: Mapping[str, int] | None = None,
    written: int | None = None,
) -> Moved:
    """Each input in DRAM read once, each new tensor in DRAM written once, but for what is given.

    :param read: bytes, by input.
    :param needed: bytes, by input; by default what is read, and no more than all of it.
    :param written: bytes.
    """
    sizes = {label: tensor.bytes for label, tensor in call.inputs.items() if tensor.in_dram}
    reads = {label: (read or {}).get(label, size) for label, size in sizes.items()}
    least = {label: min(size, reads[label]) for label, size in sizes.items()}
    new = sum(tensor.bytes for tensor in call.made if tensor.in_dram)
    return Moved(
        read=reads,
        needed={label: (needed or {}).get(label, size) for label, size in least.items()},
        written=new if written is None else written,
    )


def once(call: Op, _point: DecodePoint) -> Moved:
    """``moves`` of most ops: each input is read once, each output written once."""
    return moved(call)


def in_place(call: Op, _point: DecodePoint) -> Moved:
    """``moves`` of an op that writes its result over its first input: each input is read once, the first written."""
    first = call.input(0)
    return moved(call, written=first.bytes if first.in_dram else 0)


def by_host(_call: Op, _point: DecodePoint) -> Moved:
    """``moves`` of what the host does: no program reads or writes anything."""
    return Moved(read={}, needed={}, written=0)


def no_products(_call: Op) -> float:
    """``multiplies`` of an op without products of tiles, or with so few that moving its tensors takes longer."""
    return 0.0
