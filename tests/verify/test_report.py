"""Reports: what passes and what does not, what their page shows, and that they keep to themselves who made them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttfamily.planning.hardware import WORMHOLE
from ttfamily.planning.measured import CONSTANTS, Measured, constants_of
from ttfamily.verify.advice import RESET, after_hang
from ttfamily.verify.environment import environment
from ttfamily.verify.heartbeat import Beat
from ttfamily.verify.job import Events, read_events, without_folders
from ttfamily.verify.page import page
from ttfamily.verify.report import Check, Constant, OpRow, OpTime, Problem, Report

if TYPE_CHECKING:
    from pathlib import Path

    from ttfamily.core.mesh.mesh import Mesh

RIGHT = OpRow(
    op="ttnn.add", subjects=("llama",), calls=2, wrong=0, together=0.5, worst=1.0, bound=(2.0, 2.0), detail=""
)
WRONG = attrs.evolve(RIGHT, op="ttnn.mul", wrong=1, together=None, detail="decode of llama: got <nan>")
HELD = Check(subject="llama", name="slots are alike", right=True, detail="")
BROKEN = attrs.evolve(HELD, right=False, detail="slot 3 & others")
HANG = Problem(kind="hang", where="ttnn.linear", what="nothing moved", todo=RESET)
PUBLISHED = constants_of(WORMHOLE)
HERE = {
    "mesh": "n300", "shape": [1, 2], "chips": 2, "device": "hardware", "arch": "wormhole_b0", "grid": [8, 8],
    "dram_banks": 12, "dram_bytes": 2**33, "l1_bytes": 1, "axes": [], "packages": {"ttnn": "0.81.1"}, "python": "3.12",
    "system": "Linux x86_64", "cpu": "CPU", "driver": "2.0", "cards": [{"tt_card_type": "n300"}],
}  # fmt: skip


def constants(factor: float | None) -> tuple[Constant, ...]:
    return tuple(
        Constant(
            name=name,
            unit=facts.unit,
            how=facts.how,
            measured=None if factor is None else factor * PUBLISHED[name],
            planned=PUBLISHED[name],
        )
        for name, facts in CONSTANTS.items()
    )


GOOD = Report(
    asked={"mesh": "n300", "device": "auto"},
    environment=HERE,
    compared=("llama",),
    ops=(RIGHT,),
    invariants=(HELD,),
    soak=(attrs.evolve(HELD, name="1,000 decode steps"),),
    op_times=(OpTime(op="ttnn.add", arguments="bfloat16 [1]", stage="decode", median=2e-5, p90=3e-5, traced=4e-6),),
    constants=constants(0.5),
    timings=(),
    problems=(),
    unfinished=(),
)


@pytest.mark.parametrize(
    ("change", "passes"),
    [
        ({}, True),
        ({"ops": (RIGHT, WRONG)}, False),
        ({"invariants": (HELD, BROKEN)}, False),
        ({"soak": (BROKEN,)}, False),
        ({"problems": (HANG,)}, False),
        ({"problems": (attrs.evolve(HANG, kind="not run"),)}, True),  # the plan's own limit
        ({"problems": (attrs.evolve(HANG, kind="not corrected"),)}, True),
        ({"unfinished": ("soak of llama",)}, False),
        ({"compared": ()}, False),
    ],
)
def test_a_report_passes_only_if_everything_was_run_and_is_as_planned(change: dict[str, Any], passes: bool) -> None:
    report = attrs.evolve(GOOD, **change)
    assert report.passed == passes
    assert json.loads(report.to_json())["passed"] == passes
    assert (">passed<" in page(report)) == passes


def test_only_the_part_that_was_not_finished_is_not_as_planned() -> None:
    summary = attrs.evolve(GOOD, unfinished=("invariants of llama", "constants")).summary
    assert summary["ops against the simulator"] == summary["soak"] == "as planned"
    assert summary["invariants"] == "not as planned"


def test_a_page_shows_what_is_wrong_and_nothing_is_markup() -> None:
    text = page(attrs.evolve(GOOD, ops=(WRONG,), invariants=(BROKEN,), problems=(HANG,)))
    for shown in ("1 wrong", "infinite", "got &lt;nan&gt;", "slot 3 &amp; others", "hang: ttnn.linear", "tt-smi -r"):
        assert shown in text
    assert "<nan>" not in text


def test_measured_constants_stand_beside_planned_ones() -> None:
    text = page(GOOD)
    assert "<td>dram_sharded</td><td>120.0 Gbytes/s</td><td>240.0 Gbytes/s</td><td>0.50</td>" in text
    assert "<td>dispatch</td><td>2.00 us</td><td>4.00 us</td><td>0.50</td>" in text
    assert "<td>20.0 us</td><td>30.0 us</td><td>4.0 us</td>" in text
    assert GOOD.summary["timings"] == "timed"


def test_a_simulated_report_has_no_table_of_times() -> None:
    text = page(attrs.evolve(GOOD, constants=constants(None)))
    assert "not timed (simulated)" in text
    assert "240.0 Gbytes/s" not in text


def test_a_report_that_has_no_mesh_says_so() -> None:
    nothing: dict[str, Any] = {
        "environment": None,
        "compared": (),
        "ops": (),
        "constants": (),
        "unfinished": ("everything",),
    }
    report = attrs.evolve(GOOD, **nothing, invariants=(), soak=())
    assert set(report.summary.values()) == {"not run"}
    assert "not everything is as planned" in page(report)


def test_a_plan_reads_what_a_report_writes(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    file.write_text(GOOD.to_json())
    measured = Measured.read(file)
    assert (measured.mesh, measured.arch) == ("n300", "wormhole_b0")
    assert measured.constants == {name: 0.5 * PUBLISHED[name] for name in CONSTANTS}


@pytest.mark.parametrize(
    ("doing", "known"),
    [
        ("ttnn.linear", "13668"),
        ("ttnn.all_reduce in a trace", "43749"),
        ("ttnn.open_mesh_device", "57142"),
        ("ttnn.to_torch", "TT_METAL_TRACE_ALLOC_TRACKING"),
        ("ttnn.rms_norm", ""),
    ],
)
def test_what_is_known_of_a_hang_is_said(doing: str, known: str) -> None:
    text = after_hang(Beat(number=1, part="soak, decode step 7" if doing == "ttnn.to_torch" else "ops", doing=doing))
    assert known in text
    assert text.endswith(RESET)
    assert after_hang(None) == RESET


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("TT_FATAL @ /home/user/tt-metal/op.cpp:62: x == y", "TT_FATAL @ op.cpp:62: x == y"),
        ("no '/dev/tenstorrent/0' here", "no '0' here"),
        ("bytes/s and 3/4 of it", "bytes/s and 3/4 of it"),
        ('File "/root/a b/c.py"', 'File "a b/c.py"'),
    ],
)
def test_folders_are_cut_out_of_what_errors_say(text: str, left: str) -> None:
    assert without_folders(text) == left


@given(st.lists(st.dictionaries(st.text(), st.text() | st.integers())), st.text())
def test_events_are_read_as_they_were_written_and_a_line_that_was_cut_off_is_left_out(
    tmp_path_factory: pytest.TempPathFactory, written: list[dict[str, Any]], cut: str
) -> None:
    file = tmp_path_factory.mktemp("events") / "events.jsonl"
    events = Events(file)
    for each in written:
        events.write("op", values=each)
    with file.open("a") as more:
        more.write(json.dumps(cut))
    assert [event["values"] for event in read_events(file)] == written


def test_the_environment_names_no_owner(tt_mesh: Mesh, tmp_path: Path) -> None:
    card = tmp_path / "sys" / "class" / "tenstorrent" / "tenstorrent!0"
    card.mkdir(parents=True)
    for fact, value in (("tt_card_type", "n150"), ("tt_fw_bundle_ver", "19.4.0"), ("tt_serial", "0123")):
        (card / fact).write_text(f"{value}\n")
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Some CPU\n")
    found = environment(tt_mesh, tmp_path)
    assert found["cards"] == [{"tt_card_type": "n150", "tt_fw_bundle_ver": "19.4.0"}]
    assert found["cpu"] == "Some CPU"
    assert found["mesh"] == tt_mesh.name
    assert found["packages"]["ttnn"].startswith("0.81.")
    assert "0123" not in json.dumps(found)
