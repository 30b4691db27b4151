"""L1 of a core while each op runs: the tensors that are alive, and the op's own buffers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from ttfamily.matmul_buffers import decode_buffers, prefill_buffers
from ttfamily.tiles import TILE_BYTES, tiles

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ttfamily.core.mesh.mesh import Mesh
    from ttfamily.planning.ops import Op

FORMATS = {"BFLOAT16": "bf16", "BFLOAT8_B": "bfp8", "BFLOAT4_B": "bfp4", "FLOAT32": "fp32"}


@attrs.frozen(kw_only=True)
class CoreUse:
    """What an op needs of the busiest core's L1, bytes.

    :param op: its name.
    :param tensors: from the lowest tensor that is alive to L1's end, the holes between them included.
    :param buffers: of its program; None where neither ttnn's graph nor :mod:`ttfamily.matmul_buffers` says.
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
            matmul = _matmul_buffers(op, mesh.dram_banks)
            whole = attrs.evolve(use, buffers=made.get(use.op) if matmul is None else matmul)
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


def _matmul_buffers(op: Op, banks: int) -> int | None:
    if op.short_name not in ("linear", "matmul") or "in0_block_w" not in op.config:
        return None
    weight, block, bias = op.inputs["1"], op.config["in0_block_w"], "bias" in op.inputs
    tile_bytes = TILE_BYTES[FORMATS[weight.dtype]]
    if "cores" in op.config:  # spread over a grid; a DRAM-sharded matmul's are the banks' cores
        return prefill_buffers(op.config["per_core_M"], block, op.config["per_core_N"], tile_bytes, bias=bias)
    return decode_buffers(block, -(-tiles(weight.shape[-1]) // banks), tile_bytes, bias=bias)
