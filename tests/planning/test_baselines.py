"""Every family's op stream is what it was when its baseline was last renewed."""

from __future__ import annotations

from pathlib import Path

import pytest

from ttfamily.testing import baselines

FOLDER = Path(__file__).parent.parent / "baselines"


@pytest.mark.parametrize("mesh", baselines.MESHES)
@pytest.mark.parametrize("form", baselines.FORMS)
def test_the_op_stream_is_that_of_its_baseline(form: str, mesh: str) -> None:
    changed = baselines.difference(baselines.file_of(FOLDER, form, mesh), baselines.measure(form, mesh))
    assert not changed, f"{changed}\nIf that is meant, renew the baselines: make baseline"


def test_every_baseline_belongs_to_a_form_and_a_mesh() -> None:
    expected = {baselines.file_of(FOLDER, form, mesh) for form in baselines.FORMS for mesh in baselines.MESHES}
    assert set(FOLDER.glob("*.json")) == expected


def test_a_difference_shows_the_op_and_its_numbers(tmp_path: Path) -> None:
    row = {"count": 2, "programs": 2, "read": 100, "written": 0}
    phase = {"calls": 3, "dram_span": 64, "ops": {"linear": row}}
    measured = {"loaded_bytes": 1, "decode": phase, "prefill": phase}
    file = tmp_path / "x.json"
    file.write_text(baselines.as_text(measured))
    assert baselines.difference(file, measured) == ""
    slower = {**measured, "decode": {**phase, "ops": {"linear": {**row, "read": 200}}}}
    changed = baselines.difference(file, slower)
    assert '"read": 100' in changed
    assert '"read": 200' in changed
    assert "prefill" not in changed
