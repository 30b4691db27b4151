"""The op stream of one phase: every op that a dry mesh ran, with what it read, wrote and was configured with."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs
import ttnn

from ttfamily.errors import SimulatorError
from ttfamily.planning.core_memory import core_memory
from ttfamily.sim.facts import Op, op_facts
from ttfamily.sim.session import observed
from ttfamily.sim.table import row_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ttfamily.core.mesh.mesh import Mesh
    from ttfamily.planning.core_memory import CoreUse

PROGRAM = re.compile(r"(\w+?)(Device)?Operation")  # how the graph names what is dispatched: AddDeviceOperation


@attrs.frozen(kw_only=True)
class Stream:
    """All ops of one phase, in order; those that dispatch nothing are counted in ``calls`` only.

    :param calls: of ttnn functions, all of them: what the host does when nothing is traced.
    :param dram_span: bytes of DRAM on a device that the phase needs free, with the gaps between
        its own tensors.
    :param core_memory: L1 of the busiest core, op by op, the most first.
    """

    ops: tuple[Op, ...]
    calls: int
    dram_span: int
    core_memory: tuple[CoreUse, ...] = ()

    def counts(self) -> dict[str, int]:
        """How often each op stands in the stream."""
        return dict(sorted(Counter(op.name for op in self.ops).items()))


def record(mesh: Mesh, run: Callable[[], object]) -> Stream:
    """Record what ``run`` does on a dry mesh.

    Of L1, ttnn's graph has the buffers of the programs that it makes meanwhile, not of those in its cache.

    :raises SimulatorError: if an op has no row, or ttnn's graph does not say what an op dispatched.
    """
    seen: list[Op] = []
    ttnn.graph.begin_graph_capture(ttnn.graph.RunMode.NORMAL)
    try:
        with observed(lambda *call: seen.append(_op(mesh, *call))):
            result = run()
    finally:
        graph = ttnn.graph.end_graph_capture()
    del result
    effects = list(_effects(graph))
    names = [name for name, _ in effects]
    same = (f"ttnn.{op.name}" == name or row_of(op.name).crossing for op, name in zip(seen, names, strict=False))
    if len(names) != len(seen) or not all(same):
        raise SimulatorError(
            "op stream",
            got=f"{len(names)} calls in ttnn's graph",
            expected=f"the {len(seen)} that the interpreter saw",
            fix="Report this: ttnn's graph has changed.",
        )
    ops = [attrs.evolve(op, programs=programs) for op, (_, programs) in zip(seen, effects, strict=True)]
    for op in ops:
        _check_programs(op)
    return Stream(
        ops=tuple(op for op in ops if op.programs),
        calls=len(ops),
        dram_span=_dram_span(graph, mesh.dram_banks),
        core_memory=core_memory(mesh, graph, ops),
    )


def dram_span_of(mesh: Mesh, run: Callable[[], object]) -> int:
    """Return the bytes of DRAM on a device that ``run`` needs free, on a mesh of any kind."""
    ttnn.graph.begin_graph_capture(ttnn.graph.RunMode.NORMAL)
    try:
        result = run()
    finally:
        graph = ttnn.graph.end_graph_capture()
    del result
    return _dram_span(graph, mesh.dram_banks)


def _op(mesh: Mesh, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], outputs: Any) -> Op:
    short = name.removeprefix("ttnn.")
    if row_of(short).crossing:  # dispatches nothing, and may have freed its tensors
        return Op(name=short, inputs={}, outputs=())
    return op_facts(short, args, kwargs, outputs, mesh.dram_banks)


def _check_programs(op: Op) -> None:
    """Fail if an op made a tensor and no program was recorded."""
    if op.made and not op.programs:
        raise SimulatorError(
            f"ttnn.{op.name}",
            got="a new tensor, and no program in ttnn's graph that made it",
            expected=f"a call in the graph whose name matches {PROGRAM.pattern!r}",
            fix="Report this: ttnn's graph has changed.",
        )


def _effects(graph: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Go through ttnn's graph: for every outermost call of an op its name and its programs."""
    stack: list[str] = []
    programs: list[str] = []
    for node in graph:
        if node["node_type"] == "function_start":
            name = node["params"]["name"]
            if not stack:
                programs = []
            match = PROGRAM.fullmatch(name)
            if match is not None and not any(PROGRAM.fullmatch(outer) for outer in stack):
                programs.append(match[1])
            stack.append(name)
        elif node["node_type"] == "function_end":
            name = stack.pop()
            if not stack and name.startswith("ttnn."):
                yield name, tuple(programs)


def _dram_span(graph: Sequence[Mapping[str, Any]], banks: int) -> int:
    """From the lowest to the highest address that was allocated: what must be free, gaps included."""
    made = [node["params"] for node in graph if node["node_type"] == "buffer_allocate"]
    places = [(int(p["address"]), int(p["max_size_per_bank"])) for p in made if p["type"] == "DRAM"]
    if not places:
        return 0
    return (max(start + size for start, size in places) - min(start for start, _ in places)) * banks
