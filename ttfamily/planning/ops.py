"""What is known of an op that a dry mesh ran: its tensors on one device, what it dispatched, how it was configured."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import attrs
import ttnn

from ttfamily.tiles import TILE

if TYPE_CHECKING:
    from collections.abc import Mapping

Memory = Literal["dram_interleaved", "dram_sharded", "l1", "host"]

TILE_ELEMENTS = TILE * TILE
# What a caller says about an op beside its tensors, as far as traffic and time depend on it.
SETTINGS = ("sliding_window_size", "is_causal", "num_links", "transpose_b")


@attrs.frozen(kw_only=True)
class TensorFacts:
    """A tensor on one device.

    :param shape: of one device's part.
    :param dtype: ttnn's name, ``BFLOAT8_B``.
    :param bytes: of one device's part, tiles with their padding and block formats with their exponents.
    :param held: the DRAM that it takes, its share of every bank rounded up; 0 elsewhere.
    :param cores: that it is sharded over; 0 if it is not.
    :param buffer: which buffer it is in; two tensors may share one. None on the host.
    """

    shape: tuple[int, ...]
    dtype: str
    layout: Literal["tile", "row_major"]
    memory: Memory
    bytes: int
    held: int
    cores: int
    buffer: int | None

    @property
    def in_dram(self) -> bool:
        """Whether reading it costs DRAM bandwidth."""
        return self.memory.startswith("dram")


@attrs.frozen(kw_only=True)
class Op:
    """One call of a ttnn op.

    :param name: without ``ttnn.``.
    :param inputs: by keyword, or by position (``"0"``; in a list ``"0.1"``).
    :param programs: what was dispatched to the device for it, in order; nothing for a mere view.
    :param fidelity: of its compute kernel config, or None.
    :param config: the whole numbers of its program config; ``cores`` those of its grid.
    :param axis: of the mesh, for a collective.
    :param settings: see :data:`SETTINGS`.
    """

    name: str
    inputs: Mapping[str, TensorFacts]
    outputs: tuple[TensorFacts, ...]
    programs: tuple[str, ...] = ()
    fidelity: str | None = None
    config: Mapping[str, int] = attrs.field(factory=dict)
    axis: int | None = None
    settings: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def short_name(self) -> str:
        """The last part of the name."""
        return self.name.rpartition(".")[2]


def facts(tensor: ttnn.Tensor, banks: int) -> TensorFacts:
    """Return the facts of a tensor.

    :param banks: DRAM banks of a chip.
    """
    shape, tiled = tuple(tensor.shape), tensor.layout == ttnn.TILE_LAYOUT
    common: dict[str, Any] = {
        "shape": shape,
        "dtype": tensor.dtype.name,
        "layout": "tile" if tiled else "row_major",
    }
    if tensor.storage_type() != ttnn.StorageType.DEVICE:
        return TensorFacts(**common, memory="host", bytes=0, held=0, cores=0, buffer=None)
    memory = tensor.memory_config()
    pages, page, aligned = tensor.buffer_num_pages(), tensor.buffer_page_size(), tensor.buffer_aligned_page_size()
    cores, held, size = 0, 0, pages * page
    in_dram = memory.buffer_type == ttnn.BufferType.DRAM
    if memory.shard_spec is not None:
        cores = memory.shard_spec.num_cores()
        if tiled:  # with the tiles that fill up the last shards: they are stored, and read, as any others
            size = cores * math.prod(memory.shard_spec.shape) // TILE_ELEMENTS * page
        held = size // page * aligned if in_dram else 0
    elif in_dram:
        held = -(-pages // banks) * banks * aligned
    kind: Memory = "l1"
    if in_dram:
        kind = "dram_sharded" if cores else "dram_interleaved"
    return TensorFacts(**common, memory=kind, bytes=size, held=held, cores=cores, buffer=tensor.buffer_unique_id())
