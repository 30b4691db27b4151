"""The constants of a prediction as ``ttfamily verify`` has measured them, read from its report."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import attrs

from ttfamily.errors import RequestError
from ttfamily.planning.hardware import Chip, blackhole, chip_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ttfamily.core.mesh.mesh import Mesh

SCHEMA = 1  # of the report
FLOPS = "flops_"


@attrs.frozen(kw_only=True)
class Facts:
    """What a constant is.

    :param unit: of its value.
    :param how: it is measured.
    :param links: whether it is of the links between chips, which one chip does not have.
    """

    unit: str
    how: str
    links: bool = False


CONSTANTS: Mapping[str, Facts] = {
    "dram_sharded": Facts(unit="bytes/s", how="DRAM-sharded matmuls of BFP8 weights of two widths, in a trace"),
    "dram_interleaved": Facts(unit="bytes/s", how="copies of two sizes between interleaved DRAM buffers, in a trace"),
    "flops_LoFi": Facts(unit="FLOP/s of a core", how="prefill matmuls of two lengths in LoFi, in a trace"),
    "flops_HiFi2": Facts(unit="FLOP/s of a core", how="the same in HiFi2"),
    "flops_HiFi4": Facts(unit="FLOP/s of a core", how="the same in HiFi4"),
    "link": Facts(unit="bytes/s each way", how="all-gathers of two widths, in a trace", links=True),
    "hop": Facts(unit="s", how="what is left of a small all-gather beyond its bytes and its dispatch", links=True),
    "dispatch": Facts(unit="s", how="16 and 128 additions of a tile, in a trace"),
    "host_call": Facts(unit="s", how="16 and 128 additions of a tile, called by the host"),
    "pcie": Facts(unit="bytes/s", how="reads of two sizes from one chip to the host"),
}


def published(mesh: Mesh) -> dict[str, float]:
    """Return what sources give of a mesh's chips, by the names that reports have; of Blackhole not all."""
    chip = chip_of(mesh)
    return blackhole(mesh.dram_banks) if chip is None else constants_of(chip)


def constants_of(chip: Chip) -> dict[str, float]:
    """Return the constants of a chip by the names that reports have for them."""
    flops = {f"{FLOPS}{fidelity}": value for fidelity, value in chip.flops_per_core.items()}
    return {name: flops[name] if name in flops else getattr(chip, name) for name in CONSTANTS}


@attrs.frozen(kw_only=True)
class Measured:
    """What a report says of one mesh.

    :param mesh: its name, as it was asked for.
    :param arch: of its chips.
    :param constants: by name, those that were measured.
    """

    mesh: str
    arch: str
    constants: Mapping[str, float]

    @classmethod
    def read(cls, file: Path) -> Measured:
        """Read a report.

        :raises RequestError: if it cannot be read, is no report or one of another version, or has measured nothing.
        """
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise _refused(file, f"a file that cannot be read: {error}") from error
        if not isinstance(values, dict) or "schema" not in values:
            raise _refused(file, "JSON that is no report of ttfamily verify")
        if values["schema"] != SCHEMA:
            raise _refused(file, f"a report of version {values['schema']!r}")
        try:
            environment = values["environment"]
            mesh, arch = environment["mesh"], environment["arch"]
            found = {each["name"]: each["measured"] for each in values["constants"]}
        except (KeyError, TypeError) as error:
            raise _refused(file, f"a report without its {error}") from error
        measured = {name: value for name, value in found.items() if name in CONSTANTS and value is not None}
        wrong = [name for name, value in measured.items() if not _positive(value)]
        if wrong:
            raise _refused(file, f"{wrong[0]} = {measured[wrong[0]]!r}, which no chip has")
        if not measured:
            raise _refused(file, f"a report that measured nothing: its mesh was {environment.get('device')!r}")
        return cls(mesh=str(mesh), arch=str(arch), constants=measured)

    def chip(self, mesh: Mesh) -> Chip:
        """Return a chip with these constants, and the published ones where nothing was measured.

        :param mesh: that is planned for.
        :raises RequestError: if the report is of another mesh, or a constant is neither measured nor published.
        """
        board = mesh.name.partition("/")[0]
        if (self.arch, self.mesh.partition("/")[0]) != (mesh.spec.arch, board):
            raise RequestError(
                "--measured",
                got=f"a report of {self.mesh} ({self.arch})",
                expected=f"one of {mesh.name} ({mesh.spec.arch}), whose links and chips it measures",
                fix=f"Run ttfamily verify --mesh {mesh.name} on that machine, or plan for --mesh {self.mesh}.",
            )
        base, values = chip_of(mesh), {**published(mesh), **self.constants}
        needed = [name for name, facts in CONSTANTS.items() if mesh.has_collectives or not facts.links]
        missing = [name for name in needed if name not in values]
        if missing:
            raise RequestError(
                "--measured",
                got=f"a report without {', '.join(missing)}",
                expected=f"every constant that no source gives of {mesh.spec.arch}",
                fix=f"Run ttfamily verify --mesh {mesh.name} again, to its end.",
            )
        flops = {name.removeprefix(FLOPS): value for name, value in values.items() if name.startswith(FLOPS)}
        # Three passes of the engine to HiFi2's two, where it is not published itself.
        three_to_two = base.flops_per_core["HiFi3"] / base.flops_per_core["HiFi2"] if base else 2 / 3
        return Chip(
            name=base.name if base else mesh.spec.arch,
            dram_peak=max(base.dram_peak if base else 0.0, values["dram_sharded"], values["dram_interleaved"]),
            flops_per_core={**flops, "HiFi3": flops["HiFi2"] * three_to_two},
            **{name: values.get(name, math.inf) for name in CONSTANTS if not name.startswith(FLOPS) and name != "hop"},
            hop=values.get("hop", 0.0),
        )


def _positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0


def _refused(file: Path, got: str) -> RequestError:
    return RequestError(
        "--measured",
        got=got,
        expected=f"the report.json that ttfamily verify wrote on a card, of version {SCHEMA}",
        fix=f"Run ttfamily verify on the machine with the card; {file.name} stays as it is.",
    )
