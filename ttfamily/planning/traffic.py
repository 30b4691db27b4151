"""DRAM traffic: what every op reads and writes on one device, and the least that a decode step could read."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import attrs

from ttfamily.planning.inventory import CACHE
from ttfamily.tiles import TILE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ttfamily.planning.inventory import Held
    from ttfamily.planning.ops import Op, TensorFacts
    from ttfamily.planning.stream import Stream

TILE_ELEMENTS = TILE * TILE
BF16_BYTES = 2
Role = Literal["weights", "cache", "activations"]


@attrs.frozen(kw_only=True)
class Traffic:
    """Bytes between one chip and its DRAM.

    :param weights: read.
    :param cache: keys and values read.
    :param activations: read, tables of tokens and positions among them.
    :param written: activations, keys and values.
    """

    weights: int = 0
    cache: int = 0
    activations: int = 0
    written: int = 0

    @property
    def read(self) -> int:
        """All that is read."""
        return self.weights + self.cache + self.activations

    @property
    def total(self) -> int:
        """Read and written."""
        return self.read + self.written

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(**{field.name: getattr(self, field.name) + getattr(other, field.name) for field in FIELDS})


FIELDS = attrs.fields(Traffic)


@attrs.frozen(kw_only=True)
class Step:
    """Where the users of a decode step are.

    :param users: each at ``position``.
    :param position: of the token that goes in; it sees itself and what is before it.
    """

    users: int = 1
    position: int = 0


class Roles:
    """Tells weights, cache and activations apart by the buffers that stay in DRAM."""

    def __init__(self, held: Iterable[Held]) -> None:
        self._groups = {each.tensor.buffer: each.group for each in held}

    def of(self, tensor: TensorFacts) -> Role:
        """Return the role of a tensor."""
        group = self._groups.get(tensor.buffer)
        if group is None:
            return "activations"
        return "cache" if group == CACHE else "weights"


def op_traffic(op: Op, roles: Roles, step: Step | None = None) -> Traffic:
    """Count one op.

    :param step: for the ops of a decode step: what flash decode reads depends on the positions.
    """
    total = Traffic()
    sizes = RULES.get(op.short_name, _everything_once)(op, step or Step())
    for label, tensor in op.inputs.items():
        if tensor.in_dram:
            total += Traffic(**{roles.of(tensor): sizes.get(label, tensor.bytes)})
    # An op in place gives back its input; its rule says what it writes there.
    inputs = {tensor.buffer for tensor in op.inputs.values()}
    made = sum(tensor.bytes for tensor in op.outputs if tensor.in_dram and tensor.buffer not in inputs)
    return total + Traffic(written=sizes.get(WRITTEN, made))


def stream_traffic(stream: Stream, roles: Roles, step: Step | None = None) -> Traffic:
    """Count a phase."""
    return sum((op_traffic(op, roles, step) for op in stream.ops), Traffic())


# ---- ops that do not read all of each input once: bytes read of an input, and bytes written if not of new tensors

WRITTEN = "written"


def _everything_once(_op: Op, _step: Step) -> dict[str, int]:
    return {}


def _matmul(op: Op, _step: Step) -> dict[str, int]:
    """A weight is read anew for every fold of a long prompt."""
    folds = math.prod(op.inputs["0"].shape[:-2])
    return {label: folds * tensor.bytes for label, tensor in op.inputs.items() if label != "0"}


def rows_looked_up(op: Op, _step: Step) -> dict[str, int]:
    """Only the rows that are looked up."""
    return {"1": math.prod(op.inputs["0"].shape) * op.inputs["1"].shape[-1] * BF16_BYTES}


def _slice(op: Op, _step: Step) -> dict[str, int]:
    """Only what is cut out."""
    return {"0": min(op.inputs["0"].bytes, sum(tensor.bytes for tensor in op.outputs))}


def _update_cache(op: Op, step: Step) -> dict[str, int]:
    """Every user's new token: the row of tiles that it is in is read, changed and written."""
    size = step.users * token_tiles(op.inputs["0"])
    return {"0": size, WRITTEN: size}


def _fill_cache(op: Op, _step: Step) -> dict[str, int]:
    """A prompt's tokens are written; nothing is read of the cache."""
    return {"0": 0, WRITTEN: op.inputs["1"].bytes}


def _flash_decode(op: Op, step: Step) -> dict[str, int]:
    """Whole chunks from the window's beginning, or the sequence's, to the position."""
    chunk = op.config["k_chunk_size"]
    window = op.settings.get("sliding_window_size")
    start = 0 if window is None else max(step.position + 1 - window, 0) // chunk * chunk
    tokens = -(-(step.position + 1) // chunk) * chunk - start
    return {label: step.users * tokens // TILE * token_tiles(op.inputs[label]) for label in ("1", "2")}


def _flash_prefill(op: Op, _step: Step) -> dict[str, int]:
    """Every chunk of queries of every head reads the keys and values up to itself."""
    return _prefill_reads(op, keys=op.inputs["1"].shape[2], head=op.inputs["1"].bytes / op.inputs["1"].shape[1])


def _flash_chunked(op: Op, _step: Step) -> dict[str, int]:
    """As :func:`_flash_prefill`, keys and values in the paged cache."""
    keys = op.inputs["3"].shape[-1] * TILE
    return _prefill_reads(op, keys=keys, head=token_tiles(op.inputs["1"]) / op.inputs["1"].shape[1] * keys / TILE)


def _prefill_reads(op: Op, *, keys: int, head: float) -> dict[str, int]:
    """:param head: bytes of the keys of one head."""
    heads, rows = op.inputs["0"].shape[1:3]
    before = keys - rows
    seen = before + (rows + min(op.config["q_chunk_size"], rows)) / 2  # on average, of a chunk of queries
    chunks = -(-rows // op.config["q_chunk_size"])
    size = round(heads * chunks * head * seen / keys)
    return {"1": size, "2": size}


RULES: dict[str, Callable[[Op, Step], dict[str, int]]] = {
    "linear": _matmul,
    "matmul": _matmul,
    "embedding": rows_looked_up,
    "slice": _slice,
    "paged_update_cache": _update_cache,
    "paged_fill_cache": _fill_cache,
    "paged_scaled_dot_product_attention_decode": _flash_decode,
    "scaled_dot_product_attention": _flash_prefill,
    "chunked_scaled_dot_product_attention": _flash_chunked,
}


def token_tiles(cache: TensorFacts) -> int:
    """Bytes of a row of tiles, 32 tokens of all heads, of a cache ``[blocks, heads, 32, head_dim]``: one block."""
    _, heads, rows, width = cache.shape
    tile = cache.bytes * TILE_ELEMENTS // math.prod(cache.shape)
    return heads * -(-width // TILE) * -(-rows // TILE) * tile
