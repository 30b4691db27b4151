"""Opening a mesh on hardware, simulated or dry, and what plans need to know of it."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import attrs

from ttfamily.core.mesh.boards import MeshSpec
from ttfamily.errors import MeshError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from contextlib import AbstractContextManager

    import ttnn
    from typing_extensions import Self

    from ttfamily.arch import Arch
    from ttfamily.core.mesh.boards import Board
    from ttfamily.sim.mock_mesh import Numerics

DeviceKind = Literal["hardware", "simulated", "dry"]

DEVICE_CHOICES = ("auto", "hardware", "simulated", "dry")
DRIVER = Path("/dev/tenstorrent")

# Bytes of a core's L1, where ttnn 0.81.1's own out-of-memory messages say that it ends.
L1_BYTES: dict[Arch, int] = {"wormhole_b0": 1464 << 10, "blackhole": 1536 << 10}
TRACE_REGION_BYTES = 64 << 20

log = logging.getLogger("ttfamily")


@attrs.define(kw_only=True, eq=False, on_setattr=attrs.setters.frozen)
class Mesh:
    """An open mesh, and the facts about it that plans are made from. It changes once: when it is closed.

    :param spec: its shape, and what is cut along each of its axes.
    :param kind: ``hardware``, ``simulated`` or ``dry``.
    :param grid: (x, y) of the cores that programs may use on every chip.
    :param dram_banks: how many DRAM banks a chip reads at once.
    :param l1: the addresses of a core's L1 that buffers may have; firmware and kernel arguments are below.
    :param rehearsal: returns a context in which passes run for their programs only: a simulated mesh computes no
        values meanwhile.
    :param numerics: how a simulated mesh adds products (:func:`open_mesh`).
    :param host_device: where host tensors live before they go to the mesh: ``cpu``, or ``meta`` on a
        dry mesh, which needs shapes and no data.
    """

    spec: MeshSpec
    kind: DeviceKind
    _device: ttnn.MeshDevice = attrs.field(repr=False)
    grid: tuple[int, int]
    dram_banks: int
    l1: range
    _closing: Callable[[], None] = attrs.field(repr=False)
    rehearsal: Callable[[], AbstractContextManager[None]] = attrs.field(default=nullcontext, repr=False)
    numerics: Numerics = "fast"
    closed: bool = attrs.field(default=False, init=False, on_setattr=attrs.setters.NO_OP)

    @property
    def device(self) -> ttnn.MeshDevice:
        """The ttnn mesh device.

        :raises MeshError: if the mesh is closed.
        """
        self.require_open()
        return self._device

    def require_open(self) -> None:
        """Make sure that the mesh can be used.

        :raises MeshError: if it is closed.
        """
        if self.closed:
            raise MeshError(
                f"mesh {self.name!r}",
                got="a use of it after it was closed",
                expected="an open mesh",
                fix="Open it again with open_mesh(), and load the model onto that.",
            )

    @property
    def name(self) -> str:
        """As the caller named it, ``n300``."""
        return self.spec.name

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of chips."""
        return self.spec.shape

    @property
    def tensor_parallel(self) -> int:
        """Parts that heads, intermediate size and vocabulary are cut into."""
        return self.shape[self.spec.tensor_axis]

    @property
    def hidden_parallel(self) -> int:
        """Parts that the hidden size is cut into by a mesh of two axes; else 1."""
        axis = self.spec.hidden_axis
        return 1 if axis is None else self.shape[axis]

    @property
    def replicas(self) -> int:
        """Copies of the model, each for users of its own."""
        return self.spec.replicas

    @property
    def has_collectives(self) -> bool:
        """Whether chips add up or gather anything."""
        return self.tensor_parallel * self.hidden_parallel > 1

    @property
    def host_device(self) -> Literal["cpu", "meta"]:
        """The torch device of tensors on their way to this mesh."""
        return "meta" if self.kind == "dry" else "cpu"

    def dram_bytes(self) -> tuple[int, int]:
        """Return (allocated, total) bytes of DRAM on every chip, as ttnn's allocator has them.

        :raises MeshError: if the mesh is closed.
        """
        import ttnn

        view = ttnn.get_memory_view(self.device, ttnn.BufferType.DRAM)
        banks = view.num_banks
        return view.total_bytes_allocated_per_bank * banks, view.total_bytes_per_bank * banks

    def close(self) -> None:
        """Close the mesh and give back what was opened with it; a second time does nothing."""
        if not self.closed:
            self.closed = True
            self._closing()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_mesh(
    name: str,
    device: str = "auto",
    boards: Collection[Board] = (),
    *,
    l1_small_size: int = 0,
    numerics: Numerics = "fast",
) -> Mesh:
    """Open a named mesh.

    :param name: as :meth:`MeshSpec.parse` reads it.
    :param device: ``hardware``, ``simulated``, ``dry``, or ``auto``: hardware if a driver is there,
        else simulated.
    :param boards: meshes that plugins add.
    :param l1_small_size: bytes of each core's L1 that are kept for small buffers, which convolutions and pooling need.
    :param numerics: of a simulated mesh. Both multiply the bits that an op's math fidelity names. ``fast`` adds the
        products in float32 and rounds once, whatever the op's kernel config says of its sums; ``engine`` adds 16 at a
        time into bfloat16 or float32 and blocks in L1, as the config says, some hundred times slower.
    :raises MeshError: if the mesh or the device is unknown, or hardware is asked for and missing, or if the numerics
        are unknown, or the engine's of a mesh that is not simulated.
    """
    spec = MeshSpec.parse(name, boards)
    if device not in DEVICE_CHOICES:
        raise MeshError("device", got=repr(device), expected=f"one of {', '.join(DEVICE_CHOICES)}", fix="Choose one.")
    kind = _resolve(device)
    check_numerics(numerics, kind)
    if kind == "hardware":
        return _open_hardware(spec, l1_small_size)
    return _open_mock(spec, kind, l1_small_size, numerics)


def check_numerics(numerics: str, kind: DeviceKind, mesh_has: str | None = None) -> None:
    """Check how sums are to be made.

    :param mesh_has: the numerics of a mesh that is open already.
    :raises MeshError: if there are no such numerics, or this mesh has others.
    """
    if numerics not in ("fast", "engine"):
        raise MeshError("numerics", got=repr(numerics), expected="fast or engine", fix="Choose one.")
    if numerics == "engine" and (kind != "simulated" or mesh_has == "fast"):
        got = f"the engine's on a {kind} mesh" + (" that was opened with others" if mesh_has else "")
        fix = 'Open the mesh with device="simulated", numerics="engine".'
        raise MeshError("numerics", got=got, expected="a simulated mesh, which chooses how it adds", fix=fix)


def _resolve(device: str) -> DeviceKind:
    present = DRIVER.exists()
    if device == "hardware" and not present:
        raise MeshError(
            'device="hardware"',
            got=f"a machine without {DRIVER}",
            expected="a Tenstorrent card with its driver loaded",
            fix='Run "ttfamily doctor", or use device="simulated".',
        )
    if device != "auto":
        return device  # type: ignore[return-value]
    if not present:
        log.warning("No Tenstorrent hardware here: simulating the mesh on the CPU (real numbers, no real speed).")
    return "hardware" if present else "simulated"


def _open_hardware(spec: MeshSpec, l1_small_size: int) -> Mesh:
    import ttnn

    shape = spec.shape
    available = ttnn.get_num_devices()
    if available < shape[0] * shape[1]:
        raise MeshError(
            f"mesh {spec.name!r}",
            got=f"{available} devices on this machine",
            expected=f"{shape[0] * shape[1]}",
            fix='Choose a smaller mesh, or run "ttfamily doctor".',
        )
    if shape != (1, 1):
        ttnn.set_fabric_config(getattr(ttnn.FabricConfig, fabric(spec)))
    device = ttnn.open_mesh_device(
        ttnn.MeshShape(*shape),
        trace_region_size=TRACE_REGION_BYTES,
        l1_small_size=l1_small_size,
        dispatch_core_config=ttnn.DispatchCoreConfig(),  # which cores dispatch depends on the card: ttnn knows it
    )

    def close() -> None:
        ttnn.close_mesh_device(device)
        ttnn.set_fabric_config(ttnn.FabricConfig.DISABLED)

    return _describe(spec, "hardware", device, close)


def fabric(spec: MeshSpec) -> str:
    """Return ttnn's name of the fabric of a mesh with several chips.

    Around a ring parts come from both sides, but the ring fabric hangs on meshes of two axes (tt-metal #56769, #56099).
    """
    in_a_row = 1 in spec.shape
    ring = any(axis.topology == "ring" and axis.devices > 1 for axis in spec.axes)
    return "FABRIC_1D_RING" if in_a_row and ring else "FABRIC_1D"


def _open_mock(spec: MeshSpec, kind: DeviceKind, l1_small_size: int, numerics: Numerics) -> Mesh:
    from ttfamily.sim.session import open_session

    session = open_session(
        spec.cluster,
        spec.shape,
        computes=kind == "simulated",
        trace_region=TRACE_REGION_BYTES,
        l1_small_size=l1_small_size,
        numerics=numerics,
    )
    mesh = _describe(spec, kind, session.device, session.close, session.interpreter.rehearsal)
    return attrs.evolve(mesh, numerics=numerics)


def _describe(
    spec: MeshSpec,
    kind: DeviceKind,
    device: ttnn.MeshDevice,
    close: Callable[[], None],
    rehearsal: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Mesh:
    import ttnn

    grid, banks = device.compute_with_storage_grid_size(), device.dram_grid_size()
    spec = attrs.evolve(spec, arch=device.arch().name.lower())  # a mesh named by its shape is of any chips
    end = L1_BYTES[spec.arch]
    free = ttnn.get_memory_view(device, ttnn.BufferType.L1).total_bytes_per_bank
    return Mesh(
        spec=spec,
        kind=kind,
        device=device,
        grid=_smaller((grid.x, grid.y), None if kind == "hardware" else spec.grid),
        dram_banks=banks.x,
        l1=range(end - free, end),
        closing=close,
        rehearsal=rehearsal,
    )


def _smaller(found: tuple[int, int], left: tuple[int, int] | None) -> tuple[int, int]:
    """A mock mesh has no dispatcher: programs keep to the cores that one would leave them."""
    return found if left is None else (min(found[0], left[0]), min(found[1], left[1]))
