"""What a model takes of a chip's DRAM, and the longest context that fits beside its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ttfamily.core.precision import TILE_BYTES
from ttfamily.errors import PlanError

if TYPE_CHECKING:
    from ttfamily.core.plan import Plan

TILE_ELEMENTS = 1024
PAGE_STEP = 128  # tokens: flash decode takes so many at once, and with fewer would be all overhead
RESERVED = 0.08  # of DRAM: activations of a prefill chunk, traces, programs


def weight_bytes(plan: Plan) -> int:
    """Bytes of DRAM that the weights take on each chip, bank padding aside."""
    spec, heads, formats = plan.spec, plan.heads, plan.precision
    hidden, local = spec.hidden_size, heads.query_per_device * plan.head_dim
    cache = 2 * heads.key_value_per_device * plan.head_dim
    wide = plan.intermediate_size // plan.mesh.num_devices
    layer = (
        hidden * (local + cache) * formats.qkv.tile_bytes
        + hidden * local * formats.out.tile_bytes
        + 2 * hidden * wide * formats.gate_up.tile_bytes
        + hidden * wide * formats.down.tile_bytes
    )
    ends = spec.vocab_size * hidden * TILE_BYTES["bf16"] + hidden * plan.vocab_per_device * formats.lm_head.tile_bytes
    return (spec.num_hidden_layers * layer + ends) // TILE_ELEMENTS


def token_bytes(plan: Plan) -> int:
    """Bytes of DRAM that one token of one user takes on each chip: its keys and values."""
    per_layer = 2 * plan.heads.cached_per_device * plan.head_dim * TILE_BYTES[plan.precision.kv_cache]
    return plan.spec.num_hidden_layers * per_layer // TILE_ELEMENTS


def longest_context(plan: Plan, dram_bytes: int) -> int:
    """Tokens that every one of ``max_batch_size`` users may have, up to the model's own limit.

    :param dram_bytes: of one chip.
    :raises PlanError: if not even one block a user fits.
    """
    free = int(dram_bytes * (1 - RESERVED)) - weight_bytes(plan)
    fits = free // (token_bytes(plan) * plan.max_batch_size) // PAGE_STEP * PAGE_STEP
    if fits < 1:
        raise PlanError(
            f"{plan.mesh.name}, {plan.max_batch_size} users",
            got=f"{weight_bytes(plan) / 2**30:.1f} GiB of weights for each chip of {dram_bytes / 2**30:.1f} GiB",
            expected=f"room for the weights and {PAGE_STEP} tokens of KV cache for every user",
            fix='Use a mesh with more chips, precision="performance", or a smaller max_batch_size.',
        )
    return min(fits, plan.spec.longest_context)
