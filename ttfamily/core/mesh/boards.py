"""Named meshes: their shapes, what each axis is for, and the links between the chips. Nothing is opened here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

import attrs

from ttfamily.errors import MeshError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ttfamily.arch import Arch, Cluster

Topology = Literal["line", "ring"]
MAX_AXIS = 8  # chips in a row of any board here
CLUSTER_OF: dict[Arch, Cluster] = {"wormhole_b0": "wormhole", "blackhole": "p150"}


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
    :param cluster: that stands in for it where it is simulated or dry; by default the largest of its chips.
    :param grid: (x, y) of the cores that a card's dispatcher leaves to programs, where that cluster has more.
    """

    name: str = attrs.field()
    rows: Axis
    columns: Axis
    source: str
    arch: Arch = "wormhole_b0"
    cluster: Cluster = attrs.Factory(lambda self: CLUSTER_OF[self.arch], takes_self=True)
    grid: tuple[int, int] | None = None

    @name.validator
    def _is_no_shape(self, _: attrs.Attribute[Any], value: str) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_.-]*", value):
            fix = "Correct the plugin that adds this board."
            raise MeshError("Board.name", got=repr(value), expected="a name like 'n300', in small letters", fix=fix)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of chips."""
        return self.rows.devices, self.columns.devices

    @property
    def chips(self) -> dict[str, Any]:
        """What a mesh of the board's chips is told about them."""
        return {"arch": self.arch, "cluster": self.cluster, "grid": self.grid}


_N300 = "tech report 3.3: one link on n300; of the card's two, dispatch has the other (tt-metal #45352)"
_T3K = "tech report 3.3: a T3000 is a ring of eight chips, or 2 x 4; one link"
_GALAXY = "tech report 3.3: 8 x 4; its collectives use four links along axis 0, three along axis 1"
_N300_CHIP = "tt-metal chooses worker dispatch for a mesh of one of an n300's chips: 8 x 7 cores are left (#57142)"
_P300 = "two Blackhole chips of 120 cores, two links between them (ttnn's mesh graph descriptor of the card)"
_ONE = Axis(devices=1)
_BLACKHOLE: dict[str, Any] = {"rows": _ONE, "arch": "blackhole"}
_LESS = (11, 10)  # cores of a chip that has 120, less a column for dispatch
BOARDS: dict[str, Board] = {
    board.name: board
    for board in (
        Board(name="n150", rows=_ONE, columns=_ONE, source="one Wormhole chip"),
        Board(name="n300-chip", rows=_ONE, columns=_ONE, source=_N300_CHIP, grid=(8, 7)),
        Board(name="n300", rows=_ONE, columns=Axis(devices=2), source=_N300),
        Board(name="t3k", rows=_ONE, columns=Axis(devices=8, topology="ring"), source=_T3K),
        Board(name="galaxy", rows=Axis(devices=8, links=4), columns=Axis(devices=4, links=3), source=_GALAXY),
        Board(name="p100", columns=_ONE, source="one Blackhole chip", cluster="p100", grid=_LESS, **_BLACKHOLE),
        Board(name="p150", columns=_ONE, source="one Blackhole chip", **_BLACKHOLE),
        Board(name="p300", columns=Axis(devices=2, links=2), source=_P300, cluster="p300", grid=_LESS, **_BLACKHOLE),
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
    :param cluster: as of :class:`Board`.
    :param grid: as of :class:`Board`.
    """

    name: str
    rows: Axis
    columns: Axis
    replicas: int = 1
    arch: Arch = "wormhole_b0"
    cluster: Cluster = "wormhole"
    grid: tuple[int, int] | None = None

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
        chips_of = known[board].chips if board in known else {}
        if not hybrid:
            return cls(name=name, rows=rows, columns=columns, **chips_of)
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
            **chips_of,
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
