"""The least that a decode step could read: each weight once, each live block of the cache once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ttfamily.core.config.precision import TILE_BYTES
from ttfamily.core.mesh.tiles import TILE
from ttfamily.planning.traffic import BF16_BYTES, TILE_ELEMENTS, rows_looked_up, token_tiles

if TYPE_CHECKING:
    from ttfamily.core.layout.plan import Plan
    from ttfamily.planning.layout import CountedWeights, Taken
    from ttfamily.planning.stream import Stream
    from ttfamily.planning.traffic import Roles, Step

# Which group of a precision policy a slot belongs to; what is not here (norms, biases) is bf16.
GROUPS = {
    "layer.attention.qkv": "qkv",
    "layer.attention.out": "out",
    "layer.mlp.gate_up": "gate_up",
    "layer.mlp.up": "gate_up",
    "layer.mlp.down": "down",
    "lm_head": "lm_head",
}


def weight_floor(plan: Plan, weights: CountedWeights) -> int:
    """Bytes that a device must read in a decode step for its share of the weights: each once, unpadded.

    Of the embedding, only rows that are looked up, which :func:`decode_floor` adds.
    """
    return round(sum(share_bytes(plan, taken) for taken in weights.taken if taken.slot != "embedding"))


def share_bytes(plan: Plan, taken: Taken) -> float:
    """Bytes of what a device gets of a slot's weights, unpadded."""
    size = element_bytes(plan, taken.slot, taken.layer)
    return (taken.elements * size + taken.biases * BF16_BYTES) / parts_of(plan, taken)


def parts_of(plan: Plan, taken: Taken) -> int:
    """How many parts a slot's weights are cut into over the devices of a replica."""
    if taken.cut not in ("replicated", "width"):
        return plan.mesh.tensor_parallel * plan.mesh.hidden_parallel
    if taken.slot == "embedding":
        return plan.spec.hidden_size // plan.embedding_width
    if taken.slot in ("norm", "layer.attention_norm", "layer.mlp_norm"):
        return plan.spec.hidden_size // plan.stream_width("decode")
    return 1


def element_bytes(plan: Plan, slot: str, layer: int | None) -> float:
    """Bytes of one element of a slot in the format that the precision policy gives it."""
    return TILE_BYTES[format_of(plan, slot, layer)] / TILE_ELEMENTS


def format_of(plan: Plan, slot: str, layer: int | None) -> str:
    """The format that the precision policy gives a slot of a layer; None for what no layer has."""
    group = GROUPS.get(slot)
    if group is None:
        return "bf16"
    policy = plan.precision if layer is None else plan.precision.of(layer)
    return str(getattr(policy, group).format)


def decode_floor(plan: Plan, weights: CountedWeights, stream: Stream, step: Step) -> int:
    """The least bytes that a device reads in a decode step: each weight once, each live block of the cache once."""
    rows = step.users * plan.spec.hidden_size // plan.mesh.hidden_parallel * BF16_BYTES
    return weight_floor(plan, weights) + rows + live_cache(stream, step)


def padded_floor(stream: Stream, roles: Roles, step: Step) -> int:
    """As :func:`decode_floor`, of weights as they lie in DRAM: with copies, and what pads banks, heads and sizes."""
    once: dict[int | None, int] = {}
    for op in stream.ops:
        looked_up = rows_looked_up(op, step) if op.short_name == "embedding" else {}
        for label, tensor in op.inputs.items():
            if tensor.in_dram and roles.of(tensor) == "weights":
                once[tensor.buffer] = looked_up.get(label, tensor.bytes)
    return sum(once.values()) + live_cache(stream, step)


def live_cache(stream: Stream, step: Step) -> int:
    """Bytes of the blocks of the cache that a decode step must see."""
    live: dict[int | None, int] = {}
    for op in stream.ops:
        if op.short_name == "paged_scaled_dot_product_attention_decode":
            window = op.settings.get("sliding_window_size")
            first = 0 if window is None else max(step.position + 1 - window, 0) // TILE
            blocks = step.users * (-(-(step.position + 1) // TILE) - first)
            live |= {op.inputs[label].buffer: blocks * token_tiles(op.inputs[label]) for label in ("1", "2")}
    return sum(live.values())
