"""A plan with measured constants: which it takes, what it says of them, and which reports it refuses."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttfamily.core.mesh.boards import MeshSpec
from ttfamily.errors import RequestError
from ttfamily.planning.hardware import WORMHOLE
from ttfamily.planning.lines import tables
from ttfamily.planning.measured import CONSTANTS, SCHEMA, Measured, constants_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

VALUES = st.floats(1e-9, 1e15)


def mesh(name: str) -> Any:
    spec = MeshSpec.parse(name)
    return SimpleNamespace(name=name, spec=spec, has_collectives=spec.shape != (1, 1), dram_banks=8)


def report(of: str, arch: str, constants: Mapping[str, float | None]) -> dict[str, Any]:
    rows = [{"name": name, "measured": constants.get(name)} for name in CONSTANTS]
    return {"schema": SCHEMA, "environment": {"mesh": of, "arch": arch, "device": "hardware"}, "constants": rows}


def written(folder: Path, values: object) -> Path:
    file = folder / "report.json"
    file.write_text(values if isinstance(values, str) else json.dumps(values))
    return file


@given(st.dictionaries(st.sampled_from(sorted(CONSTANTS)), VALUES, min_size=1))
def test_what_was_measured_is_taken_and_the_rest_stays_published(
    tmp_path_factory: pytest.TempPathFactory, constants: dict[str, float]
) -> None:
    file = written(tmp_path_factory.mktemp("measured"), report("n300", "wormhole_b0", constants))
    chip = Measured.read(file).chip(mesh("n300"))
    assert constants_of(chip) == constants_of(WORMHOLE) | constants
    assert chip.flops_per_core["HiFi3"] < chip.flops_per_core["HiFi2"]
    assert chip.dram_peak >= max(chip.dram_sharded, chip.dram_interleaved, WORMHOLE.dram_peak)


def test_replicas_are_of_the_same_board(tmp_path: Path) -> None:
    measured = Measured.read(written(tmp_path, report("n300", "wormhole_b0", {"dispatch": 5e-6})))
    assert measured.chip(mesh("n300/dp2")).dispatch == 5e-6


@pytest.mark.parametrize(("of", "arch"), [("n150", "wormhole_b0"), ("t3k", "wormhole_b0"), ("n300", "blackhole")])
def test_a_report_of_another_board_or_arch_is_refused(tmp_path: Path, of: str, arch: str) -> None:
    measured = Measured.read(written(tmp_path, report(of, arch, {"dispatch": 5e-6})))
    with pytest.raises(RequestError, match=rf"a report of {of} \({arch}\); expected one of n300"):
        measured.chip(mesh("n300"))


@pytest.mark.parametrize(
    ("values", "got"),
    [
        ("{", "cannot be read"),
        ("[]", "no report"),
        ({"passed": True}, "no report"),
        ({"schema": SCHEMA + 1}, "version 2"),
        ({"schema": SCHEMA, "environment": None}, "without its"),
        ({"schema": SCHEMA, "environment": {"mesh": "n300", "arch": "x"}}, "without its 'constants'"),
        (report("n300", "wormhole_b0", {}), "measured nothing: its mesh was 'hardware'"),
        (report("n300", "wormhole_b0", {"link": -1.0}), "link = -1.0"),
        (report("n300", "wormhole_b0", {"link": "fast"}), "link = 'fast'"),  # type: ignore[dict-item]
    ],
)
def test_a_report_that_is_damaged_or_has_measured_nothing_is_refused(tmp_path: Path, values: Any, got: str) -> None:
    with pytest.raises(RequestError, match=r"--measured") as error:
        Measured.read(written(tmp_path, values))
    assert got in error.value.got


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="cannot be read"):
        Measured.read(tmp_path / "none.json")


def test_of_a_blackhole_only_what_no_source_gives_must_be_measured(tmp_path: Path) -> None:
    constants = {"dispatch": 2e-6, "host_call": 3e-5, "dram_sharded": 4.5e11}
    measured = Measured.read(written(tmp_path, report("p150", "blackhole", constants)))
    chip = measured.chip(mesh("p150"))
    assert constants_of(chip) | constants == constants_of(chip)
    assert (chip.pcie, chip.dram_interleaved) == (63e9, pytest.approx(0.7 * 512e9))  # of docs.tenstorrent.com, #30780
    assert chip.flops_per_core["HiFi3"] == pytest.approx(chip.flops_per_core["HiFi2"] * 2 / 3)
    assert chip.dram_peak == chip.dram_sharded
    less = attrs.evolve(measured, constants={"dispatch": 2e-6})
    with pytest.raises(RequestError, match="a report without host_call; expected every constant that no source gives"):
        less.chip(mesh("p150"))
    two = attrs.evolve(measured, mesh="p300")
    with pytest.raises(RequestError, match="a report without hop"):
        two.chip(mesh("p300"))


def test_a_plan_predicts_with_what_was_measured_and_says_so(folder: Any, tmp_path: Path) -> None:
    from ttfamily.core.config.hf_config import HfConfig
    from ttfamily.planning.planner import plan_model
    from ttfamily.plugins.llama import LLAMA

    def planned(**options: Any) -> Any:
        return plan_model(HfConfig.from_folder(folder("small")), LLAMA, name="small", mesh="n150", **options)

    slow = constants_of(WORMHOLE)["dispatch"] * 100
    file = tmp_path / "other"
    file.mkdir()
    measured = Measured.read(written(file, report("n150", "wormhole_b0", {"dispatch": slow})))
    before, after = planned(), planned(measured=measured)
    assert after.token.split["dispatch"] == pytest.approx(100 * before.token.split["dispatch"])
    assert after.token.split["dram"] == before.token.split["dram"]
    (table,) = (each for each in tables(after) if each.title == "What a prediction is made with")
    of = {row[0]: row[1:] for row in table.rows}
    assert of["dispatch"] == ("400.00 us", "measured")
    assert of["dram_sharded"] == ("240.0 Gbytes/s", "published")
    assert {"link", "hop"}.isdisjoint(of)  # one chip has none
    assert not any(each.measured for each in before.constants)
    assert {"name": "dispatch", "value": slow, "unit": "s", "measured": True} in json.loads(after.to_json())[
        "constants"
    ]
