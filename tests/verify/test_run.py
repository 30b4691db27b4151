"""A whole verification on a simulated mesh: it passes, and what is made wrong on purpose is found and named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ttfamily.discovery import discover
from ttfamily.errors import FamilyError, MeshError
from ttfamily.verify import compare
from ttfamily.verify.page import page
from ttfamily.verify.run import VerifyOptions, verify

if TYPE_CHECKING:
    from ttfamily.verify.report import Report

pytestmark = pytest.mark.tt_simulated
FAULTS = Path(__file__).parent / "faults.py"
STUCK = "transformer.paged_scaled_dot_product_attention_decode"
MISTRAL = VerifyOptions(mesh="n300", device="simulated", families=("mistral",), steps=100)


@pytest.fixture(scope="module")
def report() -> Report:
    return verify(MISTRAL, discover())


def test_a_simulated_mesh_passes(report: Report) -> None:
    assert report.passed, report.problems
    assert report.summary == {
        "ops against the simulator": "as planned",
        "invariants": "as planned",
        "soak": "as planned",
        "timings": "not timed (simulated)",
    }
    assert report.compared == ("mistral",)


def test_every_op_of_the_stream_is_compared(report: Report) -> None:
    ops = {row.op.removeprefix("ttnn.") for row in report.ops}
    assert ops >= {
        "from_torch", "zeros", "embedding", "rms_norm", "linear", "add", "all_reduce", "multiply",
        "experimental.paged_fill_cache", "experimental.paged_update_cache", "experimental.rotary_embedding_llama",
        "transformer.scaled_dot_product_attention", "transformer.paged_scaled_dot_product_attention_decode",
        "copy_host_to_device_tensor",
    }  # fmt: skip


def test_every_op_of_the_stream_has_a_bound_of_its_kind(report: Report) -> None:
    kinds = compare.MOVES | compare.ELEMENTWISE | compare.NORMS | compare.ROTATIONS | compare.MATMULS | compare.SUMS
    others = {row.op for row in report.ops if row.op.removeprefix("ttnn.") not in kinds}
    assert {name for name in others if "attention" not in name} == set()


def test_no_time_of_a_simulated_mesh_is_reported(report: Report) -> None:
    values = json.loads(report.to_json())
    assert all(each["measured"] is None for each in values["constants"])
    assert {each["name"] for each in values["constants"]} >= {"dispatch", "link", "hop", "dram_sharded"}
    assert all(each["median"] is each["p90"] is each["traced"] is None for each in values["op_times"])
    assert all(each["seconds"] == [None, None] for each in values["timings"])
    assert values["op_times"]
    assert values["timings"]
    assert "not timed (simulated)" in page(report)


def test_a_report_names_no_user_and_no_folder(report: Report) -> None:
    for text in (report.to_json(), page(report)):
        for private in (str(Path.home()), "/tmp/", "ttfamily-verify-", str(Path.cwd())):  # noqa: S108
            assert private not in text


@pytest.fixture(scope="module")
def spoiled() -> Report:
    """Of a device with three ops that are wrong, and whose flash decode never returns."""
    options = VerifyOptions(mesh="n150", device="simulated", families=("mistral",), patience=15)
    wrong = "scaled=rms_norm", "one_element=linear", "first_row=experimental.paged_update_cache", f"stick={STUCK}"
    return verify(options, discover(), device_command=(str(FAULTS), *wrong))


def test_three_ops_that_are_wrong_in_the_devices_process_are_found_and_no_other_is_named(spoiled: Report) -> None:
    found = {row.op: row for row in spoiled.ops if not row.right}
    assert found.keys() == {"ttnn.rms_norm", "ttnn.linear", "ttnn.experimental.paged_update_cache"}
    assert all(row.wrong == row.calls for row in found.values())
    wrong = found["ttnn.rms_norm"]
    place = "ttnn.rms_norm(bfloat16 [1, 1, 96, 512], bfloat16 [1, 1, 1, 512]): device 0, element"
    assert place in wrong.detail
    assert place in page(spoiled)
    assert not spoiled.passed
    assert spoiled.summary["ops against the simulator"] == "not as planned"


def test_a_hang_is_ended_and_the_op_is_named_with_what_to_do(spoiled: Report) -> None:
    (hang,) = spoiled.problems
    assert hang.kind == "hang"
    assert hang.where.startswith(f"ttnn.{STUCK}(bfloat16 [1,")
    assert hang.where.endswith(", in ops of mistral")
    assert "tt-smi -r" in hang.todo
    assert hang.where in page(spoiled)


def test_what_was_found_before_a_hang_stands(spoiled: Report) -> None:
    right = {row.op for row in spoiled.ops if row.right}
    assert right >= {"ttnn.multiply", "ttnn.transformer.scaled_dot_product_attention"}
    assert f"ttnn.{STUCK}" not in right
    assert spoiled.summary["invariants"] == spoiled.summary["timings"] == "not run"
    assert spoiled.unfinished == ("ops of mistral",)


def test_an_unknown_mesh_family_or_device_is_refused_before_anything_starts() -> None:
    with pytest.raises(MeshError, match="n151"):
        verify(VerifyOptions(mesh="n151"), discover())
    with pytest.raises(FamilyError, match="nonsense"):
        verify(VerifyOptions(mesh="n150", families=("nonsense",)), discover())
    with pytest.raises(MeshError, match="dry"):
        verify(VerifyOptions(mesh="n150", device="dry"), discover())
