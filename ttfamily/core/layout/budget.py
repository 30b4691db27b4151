"""What a model takes of a chip's DRAM, part by part, and the longest context that fits.

Sizes are those of ttnn's allocator: a tensor takes the same share of every bank, rounded up, and a weight
that is sharded over the banks is padded to whole tiles in each. What a running model allocates beside its
weights and its cache are the activations of the longest prefill chunk, and the logits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from ttfamily.errors import LayoutError, PlanError
from ttfamily.tiles import TILE, TILE_BYTES, round_up, tiles

if TYPE_CHECKING:
    from ttfamily.core.layout.plan import Plan

PAGE_STEP = 128  # tokens: flash decode takes so many at once, and with fewer would be all overhead
BF16 = 2  # bytes of an element
ALIGNMENT = 32  # bytes, of a page in DRAM
SMALL = 1 << 20  # bytes for tokens, positions and pages of a step and a chunk, and for the rounding of temporaries


@attrs.frozen
class Sizes:
    """Bytes that tensors take of a chip with so many DRAM banks."""

    banks: int

    def pages(self, count: int, size: int) -> int:
        """An interleaved tensor of ``count`` pages."""
        return round_up(count, self.banks) * round_up(size, ALIGNMENT)

    def tiled(self, rows: int, width: int, format_: str = "bf16") -> int:
        """An interleaved tensor ``[rows, width]`` in tiles."""
        return self.pages(tiles(rows) * tiles(width), TILE_BYTES[format_])

    def weight(self, k: int, n: int, format_: str = "bf16") -> int:
        """A weight ``[k, n]`` whose columns are spread over the banks in whole tiles."""
        return tiles(k) * round_up(tiles(n), self.banks) * TILE_BYTES[format_]


def weight_bytes(plan: Plan) -> int:
    """Bytes of DRAM that the weights take on each chip."""
    return sum(weight_parts(plan).values())


def weight_parts(plan: Plan) -> dict[str, int]:
    """Bytes of DRAM on each chip by kind of weight, all layers together."""
    spec, size = plan.spec, Sizes(plan.mesh.dram_banks)
    stream, fused, wide = plan.partial_width, plan.fused_width, plan.mlp_width
    merged = plan.heads.query_per_device * plan.head_dim
    ups = 2 if spec.mlp.kind == "gated" else 1
    parts = dict.fromkeys(("attention.qkv", "attention.out", "mlp.up", "mlp.down", "biases"), 0)
    for formats in map(plan.precision.of, range(spec.num_hidden_layers)):
        parts["attention.qkv"] += size.weight(stream, fused, formats.qkv.format)
        parts["attention.out"] += size.weight(merged, stream, formats.out.format)
        parts["mlp.up"] += ups * size.weight(stream, wide, formats.gate_up.format)
        parts["mlp.down"] += size.weight(wide, stream, formats.down.format)
    biased = [
        *((fused,) if spec.attention.qkv_bias else ()),
        *((stream,) if spec.attention.out_bias else ()),
        *((*(wide,) * ups, stream) if spec.mlp.bias else ()),
    ]
    parts["biases"] = spec.num_hidden_layers * sum(size.weight(TILE, n) + size.tiled(1, n) for n in biased)
    parts["norms"] = _norm_bytes(plan, size)
    parts["embedding"] = size.pages(spec.vocab_size, plan.embedding_width * BF16)
    head = _head_widths(plan, spec.hidden_size, plan.vocab_per_device)
    parts["lm_head"] = sum(size.weight(spec.hidden_size, n, plan.precision.lm_head.format) for n in head)
    return parts


def _norm_bytes(plan: Plan, size: Sizes) -> int:
    """Each norm has its vectors twice, for decode as sticks of a tile's width where it is sharded, else tiled."""
    spec, width = plan.spec, plan.stream_width("decode")
    decode = size.pages(width // TILE, TILE * BF16) if plan.decode_norm_sharded else size.tiled(1, width)
    vector = decode + size.tiled(1, plan.stream_width("prefill"))
    in_layer = 1 if spec.residual == "parallel_shared_norm" else 2
    return (in_layer * spec.num_hidden_layers + 1) * vector * (2 if spec.norm.bias else 1)


def _head_widths(plan: Plan, k: int, n: int) -> list[int]:
    """The head goes in as many parts as L1 wants, each spread over the banks on its own."""
    try:
        width = plan.programs.columns_at_once("lm_head", k, n, plan.precision.lm_head, beside=plan.residual_tiles)
    except LayoutError:  # for the block to say, which knows its name
        width = n
    return [min(width, n - start) for start in range(0, n, width)]


def context_parts(plan: Plan) -> dict[str, int]:
    """Bytes of DRAM on each chip that grow with the context and the users: the cache and the rotation's tables."""
    spec, heads, size = plan.spec, plan.heads, Sizes(plan.mesh.dram_banks)
    tiles_of_block = heads.key_value_per_group * plan.head_dim // TILE
    caches = len(set(heads.cache_of_group))
    formats = [plan.precision.of(layer).kv_cache for layer in range(spec.num_hidden_layers)]
    cache = sum(2 * caches * size.pages(plan.num_blocks * tiles_of_block, TILE_BYTES[name]) for name in formats)
    longest = plan.prefill_lengths[-1]
    rows = round_up(plan.max_seq_len, longest)
    tables = 2 * (size.pages(rows, plan.head_dim * BF16) + size.tiled(rows, plan.head_dim))
    return {
        "kv_cache": cache,
        "rope": tables + size.tiled(TILE, TILE),  # and the tile that swaps pairs
        "page_table": size.pages(plan.users, plan.pages * 4),
    }


def activation_parts(plan: Plan) -> dict[str, int]:
    """Bytes of DRAM on each chip that running the model takes at the most, beside what is loaded.

    The trace of a decode step keeps its logits; where the head has several parts, above those it joined.
    A prefill needs more than it has at once: its stream leaves a hole of its own size, too small for the rest.
    """
    size = Sizes(plan.mesh.dram_banks)
    k, n = plan.spec.hidden_size, plan.vocab_per_device
    logits = size.tiled(TILE, n) * (2 if len(_head_widths(plan, k, n)) > 1 else 1)
    rows = plan.prefill_lengths[-1]
    beside = size.tiled(rows, plan.partial_width) + 2 * size.tiled(rows, plan.head_dim)
    layer = size.tiled(rows, prefill_columns(plan)) + beside
    last = size.tiled(rows, plan.stream_width("prefill")) + logits
    return {"logits": logits, "activations": max(layer, last) + SMALL}


def prefill_columns(plan: Plan) -> int:
    """Columns of bf16 that a prefill chunk has in DRAM at once, at the layer's widest place."""
    spec, heads, mesh = plan.spec, plan.heads, plan.mesh
    stream, whole = plan.stream_width("prefill"), plan.partial_width
    queries, fused, wide = heads.query_per_device * plan.head_dim, plan.fused_width, plan.mlp_width
    gated = spec.mlp.kind == "gated"
    normed = whole + (stream if stream < whole else 0)  # where it is gathered, with the part that it is made of
    attention = max(
        normed + fused,
        _summed(fused, mesh.hidden_parallel),
        fused + max(fused, 2 * queries),  # taken apart; rotated, attended
        queries + whole,
    )
    if heads.groups > 1:
        attention += queries  # of the groups that are done
    first = wide if gated else 0  # the gate, while the other projection is made
    feed_forward = max(
        normed + first + wide,
        whole + first + _summed(wide, mesh.hidden_parallel),
        first + 2 * wide if gated else 0,  # their product
        wide + whole,
    )
    # The stream; in a parallel layer also the other block's partial sums, or the norm that they share.
    beside_attention, beside_mlp = {
        "sequential": (0, 0),
        "parallel": (whole, 0),
        "parallel_shared_norm": (whole, whole),
    }[spec.residual]
    joined = max(3 * whole, _summed(whole, mesh.tensor_parallel))
    return stream + max(attention + beside_attention, feed_forward + beside_mlp, joined)


def _summed(width: int, devices: int) -> int:
    """Columns that an all-reduce has at once: partial sums, room to receive others, its part of the sum, the whole."""
    return 3 * width + width // devices if devices > 1 else width


def longest_context(plan: Plan, dram_bytes: int) -> int:
    """Tokens that every one of ``max_batch_size`` users may have, up to the model's own limit.

    :param dram_bytes: of one chip, the trace region not among them.
    :raises PlanError: if not even one block a user fits.
    """
    weights = weight_bytes(plan)

    def fits(tokens: int) -> bool:
        longer = attrs.evolve(plan, max_seq_len=tokens)
        beside = sum(context_parts(longer).values()) + sum(activation_parts(longer).values())
        return weights + beside <= dram_bytes

    limit = plan.spec.longest_context
    if fits(limit):
        return limit
    low, high = 0, -(-limit // PAGE_STEP)  # in steps; ``high`` does not fit
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle * PAGE_STEP) else (low, middle)
    if low == 0:
        raise PlanError(
            f"{plan.mesh.name}, {plan.max_batch_size} users",
            got=f"{weights / 2**30:.1f} GiB of weights for each chip of {dram_bytes / 2**30:.1f} GiB",
            expected=f"room for the weights, {PAGE_STEP} tokens of KV cache for every user, and for running a prefill",
            fix='Use a mesh with more chips, precision="performance", or a smaller max_batch_size.',
        )
    return low * PAGE_STEP
