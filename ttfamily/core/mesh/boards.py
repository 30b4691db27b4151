"""Named meshes: their shapes, what each axis is for, and the links between the chips. Nothing is opened here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

import attrs

from ttfamily.errors import MeshError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ttfamily.arch import Arch

Topology = Literal["line", "ring"]
DispatchCores = Literal["worker", "ethernet"]
MAX_AXIS = 8  # chips in a row of any board here


@attrs.frozen(kw_only=True)
class Axis:
    """One axis of a mesh.

    :param devices: chips along it.
    :param topology: whether its ends are joined.
    :param links: ethernet links between neighbours, each 100 Gb/s each way.
    """

    devices: int
    topology: Topology = "line"
    links: int = 1


@attrs.frozen(kw_only=True)
class Board:
    """A mesh that can be asked for by name.

    :param rows: the axis along a column of chips.
    :param columns: the axis along a row of chips.
    :param source: where its links and topology are documented.
    :param arch: of its chips.
    """

    name: str = attrs.field()
    rows: Axis
    columns: Axis
    source: str
    arch: Arch = "wormhole_b0"

    @name.validator
    def _is_no_shape(self, _: attrs.Attribute[Any], value: str) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_.-]*", value):
            fix = "Correct the plugin that adds this board."
            raise MeshError("Board.name", got=repr(value), expected="a name like 'n300', in small letters", fix=fix)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of chips."""
        return self.rows.devices, self.columns.devices


_N300 = "n300 card specification: two links between its chips; tech report 3.3 uses one on n300 and T3000"
_T3K = "tech report 3.3: a T3000 is a ring of eight chips, or 2 x 4; one link"
_GALAXY = "tech report 3.3: 8 x 4; its collectives use four links along axis 0, three along axis 1"
_ONE = Axis(devices=1)
BOARDS: dict[str, Board] = {
    board.name: board
    for board in (
        Board(name="n150", rows=_ONE, columns=_ONE, source="one Wormhole chip"),
        Board(name="n300", rows=_ONE, columns=Axis(devices=2, links=2), source=_N300),
        Board(name="t3k", rows=_ONE, columns=Axis(devices=8, topology="ring"), source=_T3K),
        Board(name="galaxy", rows=Axis(devices=8, links=4), columns=Axis(devices=4, links=3), source=_GALAXY),
        Board(name="p150", rows=_ONE, columns=_ONE, source="one Blackhole chip", arch="blackhole"),
    )
}
ALIASES = {"tg": "galaxy"}


@attrs.frozen(kw_only=True)
class MeshSpec:
    """A mesh as it was asked for: chips in rows and columns, and what is cut along each axis.

    A tensor-parallel weight has its output features (of a column-parallel one) cut along the *tensor* axis.
    On a mesh with two axes its input features are cut along the *hidden* axis, as the residual stream is (tech
    report 3.3, 2D weight sharding); or that axis is the *data* axis, along which whole replicas lie.

    :param name: as the caller wrote it.
    :param replicas: along the rows; 1 without data parallelism.
    :param arch: of the chips; Wormhole where the mesh is named by its shape.
    """

    name: str
    rows: Axis
    columns: Axis
    replicas: int = 1
    arch: Arch = "wormhole_b0"

    @classmethod
    def parse(cls, name: str, boards: Collection[Board] = ()) -> MeshSpec:
        """Read ``n300``, ``2x4``, ``t3k/dp4`` and the like.

        :param boards: that plugins add.
        :raises MeshError: if the name means nothing, or the replicas do not divide the chips.
        """
        board, _, hybrid = name.partition("/")
        known = {**BOARDS, **{each.name: each for each in boards}}
        board = ALIASES.get(board, board)
        rows, columns = (known[board].rows, known[board].columns) if board in known else _shape(name, board, known)
        arch = known[board].arch if board in known else "wormhole_b0"
        if not hybrid:
            return cls(name=name, rows=rows, columns=columns, arch=arch)
        match = re.fullmatch(r"dp(\d+)", hybrid)
        replicas = int(match.group(1)) if match else 0
        chips = rows.devices * columns.devices
        fitting = [n for n in range(1, chips + 1) if chips % n == 0 and max(n, chips // n) <= MAX_AXIS]
        if replicas not in fitting:
            raise MeshError(
                f"mesh {name!r}",
                got=repr(hybrid),
                expected=f"dp and how many replicas share the {chips} chips: {', '.join(map(str, fitting))}",
                fix=f"Write {board}/dp{fitting[-1]}, for example.",
            )
        return cls(
            name=name,
            rows=_part((rows, columns), replicas),
            columns=_part((rows, columns), chips // replicas),
            replicas=replicas,
            arch=arch,
        )

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of chips."""
        return self.rows.devices, self.columns.devices

    @property
    def axes(self) -> tuple[Axis, Axis]:
        """Rows and columns, by number."""
        return self.rows, self.columns

    @property
    def tensor_axis(self) -> int:
        """The axis along which heads, intermediate size and vocabulary are cut: the longer one."""
        rows, columns = self.shape
        return 0 if self.replicas == 1 and rows > columns else 1

    @property
    def hidden_axis(self) -> int | None:
        """The axis along which the hidden size is cut; None if there are replicas along it, or one chip."""
        other = 1 - self.tensor_axis
        return other if self.replicas == 1 and self.shape[other] > 1 else None

    @property
    def dispatch_cores(self) -> DispatchCores:
        """The cores that start programs: with several chips the ethernet links', which leaves programs the grid."""
        return "worker" if self.shape == (1, 1) else "ethernet"

    @property
    def data_axis(self) -> int | None:
        """The axis along which replicas lie."""
        return 0 if self.replicas > 1 else None


def _part(board: tuple[Axis, Axis], devices: int) -> Axis:
    """Lay so many chips of a board in a line: along an axis that has as many, else over the fewest links of any."""
    along = [axis.links for axis in board if axis.devices == devices]
    return Axis(devices=devices, links=along[0] if along else min(axis.links for axis in board if axis.devices > 1))


def _shape(name: str, board: str, boards: Mapping[str, Board]) -> tuple[Axis, Axis]:
    match = re.fullmatch(r"([1-9])x([1-9])", board)
    if match is None or max(int(n) for n in match.groups()) > MAX_AXIS:
        raise MeshError(
            "mesh",
            got=repr(name),
            expected=f"one of {', '.join([*boards, *ALIASES])}; rows x columns up to {MAX_AXIS}x{MAX_AXIS}, such as "
            "'2x4'; or either with replicas, such as 't3k/dp4'",
            fix="Name the board that you have.",
        )
    rows, columns = (Axis(devices=int(n), topology="ring" if int(n) == MAX_AXIS else "line") for n in match.groups())
    return rows, columns
