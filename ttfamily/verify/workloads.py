"""What is timed on the device for the constants of a prediction, each in two sizes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
import ttnn

from ttfamily.core.blocks.ccl import way
from ttfamily.core.config.precision import WeightPrecision, ttnn_dtype
from ttfamily.core.layout.programs import Programs
from ttfamily.core.mesh.placement import put
from ttfamily.planning.roofline import hops, link_bytes
from ttfamily.sim.table import row_of
from ttfamily.tiles import BF16_BYTES, TILE, TILE_BYTES, tiles
from ttfamily.verify.constants import Exchange, Pair

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ttfamily.core.config.precision import Fidelity
    from ttfamily.core.mesh.mesh import Mesh
    from ttfamily.verify.heartbeat import Heartbeat
    from ttfamily.verify.measure import Stopwatch, Times

OPS = (16, 128)  # in a trace, and in a row without one
TIMES = (1, 9)  # a small collective in a trace
FIDELITIES: tuple[Fidelity, ...] = ("LoFi", "HiFi2", "HiFi4")
INNER = 4096  # of the matmuls: the hidden size of an 8B model
LARGE, SMALL = 1, 16  # what sizes are divided by: where times mean nothing, sizes need not be large


@contextmanager
def traced(mesh: Mesh, body: Callable[[], object]) -> Iterator[Callable[[], None]]:
    """Capture what ``body`` runs, and yield a replay; the trace is released in the end."""
    body()  # compiles its programs
    trace = ttnn.begin_trace_capture(mesh.device, cq_id=0)
    try:
        body()
    finally:
        ttnn.end_trace_capture(mesh.device, trace, cq_id=0)
    try:
        yield lambda: ttnn.execute_trace(mesh.device, trace, cq_id=0, blocking=False)
    finally:
        ttnn.release_trace(mesh.device, trace)


class Workloads:
    """Runs each of them; every result is a :class:`Pair` of sizes and times.

    :param found: called with each result, at once: the next one may hang.
    """

    def __init__(self, mesh: Mesh, stopwatch: Stopwatch, heartbeat: Heartbeat, found: Callable[[Pair], None]) -> None:
        self._mesh, self._stopwatch, self._heartbeat, self._found = mesh, stopwatch, heartbeat, found
        self._scale = LARGE if stopwatch.meaningful else SMALL
        self._programs = Programs(mesh)

    def run(self) -> tuple[dict[str, Pair], Exchange | None]:
        """Run all; those that no constant is made of (host writes, a reduce-scatter) are for the reader.

        :returns: the pairs by the constant that each is for; and the exchange that gives link and hop, on a mesh
            with several chips.
        """
        pairs = {"dispatch": self._dispatch(), "host_call": self._host_calls(), "dram_interleaved": self._copies()}
        pairs["pcie"] = self._reads()
        self._writes()
        pairs["dram_sharded"] = self._matrix_vector()
        for fidelity in FIDELITIES:
            pairs[f"flops_{fidelity}"] = self._products(fidelity)
        if not self._mesh.has_collectives:
            return pairs, None
        self._exchange("reduce_scatter")
        return pairs, self._exchange("all_gather")

    # ---- one chip

    def _dispatch(self) -> Pair:
        """Small ops in a trace, one after the other."""
        x = self._zeros(TILE, TILE, ttnn.L1_MEMORY_CONFIG)
        return self._pair("ops in a trace", OPS, lambda count: repeat(lambda: ttnn.add(x, x), count))

    def _host_calls(self) -> Pair:
        """The same ops called one by one, without waiting for the device."""
        x = self._zeros(TILE, TILE, ttnn.L1_MEMORY_CONFIG)
        found = []
        for count in OPS:
            self._heartbeat.beat(doing=f"{count} ops called by the host")
            found.append(self._stopwatch.times(repeat(lambda: ttnn.add(x, x), count)))
        return self._result("ops called by the host", OPS, found)

    def _copies(self) -> Pair:
        """Copies from interleaved DRAM to interleaved DRAM: each byte is read once and written once."""
        rows = 2048 // self._scale, 8192 // self._scale
        inputs = {count: self._zeros(count, INNER, ttnn.DRAM_MEMORY_CONFIG) for count in rows}
        moved = {count: 2 * count * INNER * BF16_BYTES for count in rows}
        return self._pair("copies in DRAM", rows, lambda count: lambda: ttnn.clone(inputs[count]), moved)

    def _matrix_vector(self) -> Pair:
        """Decode matmuls with BFP8 weights over the DRAM banks, as every projection of a decode step is."""
        programs, precision = self._programs, WeightPrecision("bfp8")
        inner = INNER // self._scale
        unit = self._mesh.dram_banks * TILE * 8  # whole tiles in every bank: no padding is read
        widths = unit, 4 * unit
        x = ttnn.to_memory_config(self._zeros(TILE, inner, ttnn.DRAM_MEMORY_CONFIG), programs.spread_out(inner))
        weights = {n: self._weight(inner, n, precision, programs.bank_sharded(inner, n)) for n in widths}
        how = {n: programs.decode_matmul("verify", inner, n, precision, live_tiles=0) for n in widths}
        read = {n: tiles(inner) * tiles(n) * TILE_BYTES["bfp8"] for n in widths}
        return self._pair("decode matmuls", widths, lambda n: lambda: ttnn.linear(x, weights[n], **how[n]), read)

    def _products(self, fidelity: Fidelity) -> Pair:
        """Prefill matmuls, of two lengths with the same blocking."""
        programs, precision = self._programs, WeightPrecision("bfp8", fidelity)
        inner = width = 2048 // self._scale
        rows = 1024 // self._scale, 4096 // self._scale
        fold, how = programs.prefill_matmul("verify", rows[0], inner, width, precision)
        weight = self._weight(inner, width, precision, programs.bank_sharded(inner, width))
        inputs = {n: self._folded(n, fold, inner) for n in rows}
        config = how["program_config"]
        products = {n: n // fold * config.per_core_M * config.per_core_N * tiles(inner) for n in rows}
        name = f"prefill matmuls, {fidelity}"
        return self._pair(name, rows, lambda n: lambda: ttnn.linear(inputs[n], weight, **how), products)

    # ---- host and links

    def _reads(self) -> Pair:
        """Tensors of one chip to the host, row-major: nothing is converted."""
        rows = 256 // self._scale, 4096 // self._scale
        tensors = {n: ttnn.get_device_tensors(self._raw(n))[0] for n in rows}
        return self._host_pair("reads by the host", rows, lambda n: ttnn.to_torch(tensors[n]))

    def _writes(self) -> Pair:
        rows = 256 // self._scale, 4096 // self._scale
        targets = {n: self._raw(n) for n in rows}
        sources = {n: ttnn.from_torch(torch.zeros(1, 1, n, INNER, dtype=torch.bfloat16)) for n in rows}
        return self._host_pair(
            "writes by the host", rows, lambda n: ttnn.copy_host_to_device_tensor(sources[n], targets[n])
        )

    def _exchange(self, op: str) -> Exchange:
        """A collective along the tensor axis, from DRAM to DRAM."""
        number = self._mesh.spec.tensor_axis
        axis = self._mesh.spec.axes[number]
        widths = 1024, max(INNER * 16 // self._scale, 2048)
        inputs = {n: self._zeros(TILE, n, ttnn.DRAM_MEMORY_CONFIG) for n in widths}
        phases = row_of(op).link_phases
        # Of a gathered tensor the parts of all chips, of one that is reduced the input.
        whole = {n: TILE * n * BF16_BYTES * (axis.devices if op == "all_gather" else 1) for n in widths}
        passing = {n: phases * link_bytes(whole[n], axis) for n in widths}

        def run(x: ttnn.Tensor) -> ttnn.Tensor:
            return getattr(ttnn, op)(x, 3, **way(self._mesh, number))  # as the blocks call it

        pair = self._pair(op, widths, lambda n: lambda: run(inputs[n]), passing)
        small = inputs[widths[0]]
        again = self._pair(f"{op} of {widths[0]} columns", TIMES, lambda count: repeat(lambda: run(small), count))
        return Exchange(pair=pair, repeated=again, links=axis.links, hops=phases * hops(axis))

    # ---- how they are run

    def _pair(
        self,
        name: str,
        sizes: tuple[int, int],
        body: Callable[[int], Callable[[], object]],
        units: dict[int, float] | dict[int, int] | None = None,
    ) -> Pair:
        """Time a body of each size in a trace."""
        found: list[Times | None] = []
        for size in sizes:
            self._heartbeat.beat(doing=f"{name}, {size}")
            with traced(self._mesh, body(size)) as replay:
                found.append(self._stopwatch.times(replay))
        return self._result(name, [units[size] if units else size for size in sizes], found)

    def _host_pair(self, name: str, rows: tuple[int, int], run: Callable[[int], object]) -> Pair:
        found: list[Times | None] = []
        for count in rows:
            self._heartbeat.beat(doing=f"{name}, {count}")
            found.append(self._stopwatch.times(lambda count=count: run(count)))  # type: ignore[misc]
        return self._result(name, [count * INNER * BF16_BYTES for count in rows], found)

    def _result(self, name: str, sizes: Sequence[float], times: Sequence[Times | None]) -> Pair:
        pair = Pair(name=name, sizes=(sizes[0], sizes[1]), times=(times[0], times[1]))
        self._found(pair)
        return pair

    def _zeros(self, rows: int, width: int, memory: ttnn.MemoryConfig) -> ttnn.Tensor:
        shape = [1, 1, rows, width]
        options = {"dtype": ttnn.bfloat16, "layout": ttnn.TILE_LAYOUT, "memory_config": memory}
        return ttnn.zeros(shape, device=self._mesh.device, **options)

    def _folded(self, rows: int, fold: int, width: int) -> ttnn.Tensor:
        return ttnn.reshape(self._zeros(rows, width, ttnn.DRAM_MEMORY_CONFIG), (1, rows // fold, fold, width))

    def _raw(self, rows: int) -> ttnn.Tensor:
        options = {"dtype": ttnn.bfloat16, "layout": ttnn.ROW_MAJOR_LAYOUT}
        return ttnn.zeros([1, 1, rows, INNER], device=self._mesh.device, **options)

    def _weight(self, k: int, n: int, precision: WeightPrecision, memory: ttnn.MemoryConfig) -> ttnn.Tensor:
        return put(self._mesh, torch.zeros(1, 1, k, n), dtype=ttnn_dtype(precision.format), memory_config=memory)


def repeat(run: Callable[[], object], count: int) -> Callable[[], None]:
    """Make a function that runs something several times."""

    def body() -> None:
        for _ in range(count):
            run()

    return body
