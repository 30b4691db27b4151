"""The device's process, within the test's own: a part that fails is named, and the others are run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ttfamily.sim import row
from ttfamily.verify import device
from ttfamily.verify.collect import collect
from ttfamily.verify.heartbeat import Heartbeat
from ttfamily.verify.job import DEVICE, EXPECTED, Events, Job

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

pytestmark = [pytest.mark.tt_simulated, pytest.mark.tt_meshes("n300")]
DECODE = "transformer.paged_scaled_dot_product_attention_decode"


@pytest.fixture
def job(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    made = Job(
        mesh="n300",
        device="simulated",
        precision="accuracy",
        families=("mistral",),
        disabled=(),
        steps=100,
        scratch=tmp_path,
    )
    monkeypatch.setattr(device, "subjects", lambda _: [bench.subject])
    monkeypatch.setattr(Job, "expected", lambda *_: tmp_path / "values")
    monkeypatch.setattr(Job, "checkpoint", lambda *_: bench.checkpoint)
    count = bench.expect()
    Events(made.events(EXPECTED)).write("expected", subject=bench.subject.name, calls=count)
    return made


def found(job: Job, bench: Any) -> Any:
    events = Events(job.events(DEVICE))
    device.verify(job, bench.mesh, Heartbeat(job.heartbeat(DEVICE)), events)
    return collect(job, {})


def test_an_op_that_fails_is_named_without_the_folders_of_the_machine_and_the_rest_is_run(
    job: Job, bench: Any, faults: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(row.REGISTERED, DECODE, row.REGISTERED[DECODE])
    faults.refuse(DECODE)
    report = found(job, bench)
    assert {problem.kind for problem in report.problems} == {"failure"}
    assert all(f"ttnn.{DECODE}(" in problem.where for problem in report.problems)
    assert all("Out of Memory" in problem.what for problem in report.problems)
    assert "someone" not in report.to_json()
    assert "ttnn.rms_norm" in {op.op for op in report.ops}
    assert report.unfinished == ("ops of mistral", "invariants of mistral", "soak of mistral", "op times of mistral")
    assert not report.passed
    assert report.constants


def test_a_stream_that_differs_and_what_cannot_be_corrected_are_said_once_each(
    job: Job, bench: Any, faults: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        message = "TT_FATAL: no such buffer"
        raise RuntimeError(message)

    monkeypatch.setitem(row.REGISTERED, "embedding", row.REGISTERED["embedding"])
    monkeypatch.setattr("ttfamily.verify.check.write_devices", fails)
    monkeypatch.setattr(device, "parts", only("ops"))
    faults.DAMAGE["scaled"]("embedding")
    last = max((bench.folder / "values").glob("*.pt"), key=lambda file: int(file.stem))
    last.unlink()
    report = found(job, bench)
    of_kind = {
        kind: [each for each in report.problems if each.kind == kind] for kind in ("stream differs", "not corrected")
    }
    assert len(of_kind["stream differs"]) == 1
    assert "the end of its stream" in of_kind["stream differs"][0].what
    assert of_kind["stream differs"][0].where.endswith(", in ops of mistral")
    assert len({each.where for each in of_kind["not corrected"]}) == len(of_kind["not corrected"])
    assert any(each.where.startswith("ttnn.embedding, in prefill of mistral") for each in of_kind["not corrected"])
    assert report.summary["ops against the simulator"] == "not as planned"


def test_drift_and_lost_memory_are_found(job: Job, bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "parts", only("soak"))
    monkeypatch.setattr("ttfamily.verify.soak.step", drifting_after(60, bench.mesh))
    (soak,) = found(job, bench).soak
    assert not soak.right
    assert "step 60: " in soak.detail
    assert "DRAM grew from" in soak.detail


@pytest.mark.parametrize("name", ["slots are independent", "traces equal eager", "prefill equals decode steps"])
def test_an_invariant_that_does_not_hold_is_named(
    job: Job, bench: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(device, "parts", only("invariants"))
    monkeypatch.setattr("ttfamily.verify.invariants.step", different_each_time())
    report = found(job, bench)
    broken = {check.name for check in report.invariants if not check.right}
    assert name in broken
    assert "prefill keeps to its pages" not in broken
    assert not report.passed


def only(word: str) -> Any:
    every = device.parts
    return lambda *given: [part for part in every(*given) if part[0].startswith(word)]


def drifting_after(steps: int, mesh: Any) -> Any:
    """A decode step that is off, and keeps memory, from that step on."""
    import ttnn

    from ttfamily.verify.invariants import step

    count, kept = [0], []

    def drifting(model: Any, users: Any) -> Any:
        logits = step(model, users)
        if count[0] >= steps:
            logits += 1
            kept.append(ttnn.zeros([1, 1, 512, 512], dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=mesh.device))
        count[0] += 1
        return logits

    return drifting


def different_each_time() -> Any:
    from ttfamily.verify.invariants import step

    count = [0]

    def different(model: Any, users: Any) -> Any:
        count[0] += 1
        return step(model, users).roll(count[0], -1)

    return different
