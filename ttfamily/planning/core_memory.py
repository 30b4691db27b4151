"""L1 of a core while each op runs: the tensors that are alive, and the op's own buffers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from ttfamily.sim.table import row_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ttfamily.core.mesh.mesh import Mesh
    from ttfamily.sim.facts import Op


@attrs.frozen(kw_only=True)
class CoreUse:
    """What an op needs of the busiest core's L1, bytes.

    :param op: its name.
    :param tensors: from the lowest tensor that is alive to L1's end, the gaps between them included.
    :param buffers: of its program; None where neither its row nor ttnn's graph says.
    """

    op: str
    tensors: int
    buffers: int | None = None

    @property
    def together(self) -> int:
        """Both."""
        return self.tensors + (self.buffers or 0)


def core_memory(mesh: Mesh, graph: Sequence[Mapping[str, Any]], ops: Sequence[Op]) -> tuple[CoreUse, ...]:
    """Return for every op's name the call that needed most.

    :param graph: of a capture that found no program in ttnn's cache: it has the buffers of new programs only, so
        a later call of an op is taken to need what the first ones did.
    :param ops: every call of the capture.
    """
    calls = list(_calls(mesh.l1, graph))
    made: dict[str, int] = {}
    for use in calls:
        if use.buffers is not None:
            made[use.op] = max(use.buffers, made.get(use.op, 0))
    most: dict[str, CoreUse] = {}
    for use, op in zip(calls, ops, strict=True):
        if op.programs:
            buffers = row_of(op.name).buffers
            counted = None if buffers is None else buffers(op)
            whole = attrs.evolve(use, buffers=made.get(use.op) if counted is None else counted)
            most[use.op] = max(whole, most.get(use.op, whole), key=lambda each: each.together)
    return tuple(sorted(most.values(), key=lambda use: -use.together))


def _calls(l1: range, graph: Sequence[Mapping[str, Any]]) -> Iterator[CoreUse]:
    """Go through ttnn's graph: for every outermost call what was alive, and where its buffers ended."""
    alive: set[int] = set()
    depth, lowest, end = 0, l1.stop, 0
    for node in graph:
        kind, facts = node["node_type"], node["params"]
        if kind == "function_start":
            if depth == 0:
                lowest, end = min(alive, default=l1.stop), 0
            depth += 1
        elif kind == "function_end":
            depth -= 1
            if depth == 0 and facts["name"].startswith("ttnn."):
                name = facts["name"].removeprefix("ttnn.")
                yield CoreUse(op=name, tensors=l1.stop - lowest, buffers=end - l1.start if end else None)
        elif kind == "buffer_allocate" and facts["type"] == "L1":
            alive.add(int(facts["address"]))
            lowest = min(lowest, int(facts["address"]))
        elif kind == "buffer_deallocate" and facts["type"] == "L1":
            alive.discard(int(facts["address"]))
        elif kind == "circular_buffer_allocate" and facts["globally_allocated"] == "0":
            end = max(end, int(facts["address"]) + int(facts["size"]))
