"""What is known of a call of an op without its values: its tensors on one device, its programs, its configuration."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import attrs
import ttnn

from ttfamily.errors import SimulatorError
from ttfamily.sim.tensor import SimTensor, same_everywhere
from ttfamily.tiles import TILE_BYTES, TILE_ELEMENTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Memory = Literal["dram_interleaved", "dram_sharded", "l1", "host"]

# What a caller says about an op beside its tensors, as far as traffic and time depend on it.
SETTINGS = ("sliding_window_size", "is_causal", "num_links", "transpose_b", "chunk_start_idx_tensor")
# ttnn's name of a format -> the name that TILE_BYTES has it under.
FORMATS = {"BFLOAT16": "bf16", "BFLOAT8_B": "bfp8", "BFLOAT4_B": "bfp4", "FLOAT32": "fp32"}


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

    @property
    def tile_bytes(self) -> int:
        """Bytes of one tile in its format."""
        return TILE_BYTES[FORMATS[self.dtype]]


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
    def bank_sharded(self) -> bool:
        """Whether its program config is that of a DRAM-sharded matmul: every bank feeds its nearest core."""
        return "num_workers_per_dram_bank" in self.config

    def input(self, position: int) -> TensorFacts:
        """Return the input that was given by position.

        :raises SimulatorError: if there is none: it was given by keyword, or not at all.
        """
        tensor = self.inputs.get(str(position))
        if tensor is None:
            raise SimulatorError(
                f"ttnn.{self.name}",
                got=f"a call without a tensor at position {position}",
                expected="the tensors that its traffic depends on, by position",
                fix="Pass them by position, as the blocks of the core do.",
            )
        return tensor

    def configured(self, name: str) -> int:
        """Return a number of its program config.

        :raises SimulatorError: if the call has no program config, or one without that number.
        """
        if name not in self.config:
            raise SimulatorError(
                f"ttnn.{self.name}",
                got=f"a call without {name} in its program config",
                expected="the numbers that its traffic depends on",
                fix="Pass program_config=, as the blocks of the core do.",
            )
        return self.config[name]

    @property
    def made(self) -> list[TensorFacts]:
        """The outputs that are new tensors on the device; an op in place gives back its input."""
        inputs = {tensor.buffer for tensor in self.inputs.values()}
        return [tensor for tensor in self.outputs if tensor.buffer not in inputs and tensor.memory != "host"]


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


def op_facts(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], outputs: Any, banks: int) -> Op:
    """Return the facts of a call that has returned, all but its programs.

    :param name: without ``ttnn.``.
    :param banks: DRAM banks of a chip.
    """
    arguments = {**{str(i): value for i, value in enumerate(args)}, **kwargs}
    results = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    kernel_config = kwargs.get("compute_kernel_config")
    return Op(
        name=name,
        inputs={label: facts(tensor, banks) for label, tensor in _tensors(arguments)},
        outputs=tuple(facts(tensor, banks) for tensor in results if isinstance(tensor, ttnn.Tensor)),
        fidelity=None if kernel_config is None else kernel_config.math_fidelity.name,
        config=_config(kwargs.get("program_config")),
        axis=kwargs.get("cluster_axis"),
        settings={key: _setting(kwargs[key]) for key in SETTINGS if kwargs.get(key) is not None},
    )


def _setting(value: Any) -> Any:
    """Return a setting as a number; one that a tensor holds is known, since the host wrote it."""
    return int(same_everywhere(value.cell)) if isinstance(value, SimTensor) else value


def _tensors(arguments: Mapping[str, Any]) -> Iterator[tuple[str, ttnn.Tensor]]:
    for label, value in arguments.items():
        if isinstance(value, ttnn.Tensor):
            yield label, value
        elif isinstance(value, (list, tuple)):
            yield from ((f"{label}.{i}", item) for i, item in enumerate(value) if isinstance(item, ttnn.Tensor))


def _config(program: Any) -> dict[str, int]:
    if program is None:
        return {}
    names = [name for name in dir(program) if not name.startswith("_")]
    config = {name: value for name in names if type(value := getattr(program, name)) is int}
    grid = getattr(program, "compute_with_storage_grid_size", None)
    if grid is not None:
        config |= {"grid_x": int(grid.x), "grid_y": int(grid.y), "cores": int(grid.x * grid.y)}
    return config
