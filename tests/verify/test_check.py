"""An op that is wrong is named, each of its calls, and nothing else: the next op is given the simulator's values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import ttnn

from ttfamily.sim import row
from ttfamily.verify import check
from ttfamily.verify.check import StreamDiffers

if TYPE_CHECKING:
    from types import ModuleType

pytestmark = [pytest.mark.tt_simulated, pytest.mark.tt_meshes("n300")]


@pytest.fixture(autouse=True)
def _rows_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, known in row.REGISTERED.items():
        monkeypatch.setitem(row.REGISTERED, name, known)


@pytest.mark.parametrize(
    ("kind", "op"),
    [
        ("one_element", "linear"),
        ("first_row", "experimental.paged_update_cache"),
        ("scaled", "experimental.rotary_embedding_llama"),
        ("one_element", "all_reduce"),
    ],
)
def test_an_op_that_is_wrong_is_found_and_no_other_is_named(bench: Any, faults: ModuleType, kind: str, op: str) -> None:
    bench.expect()
    faults.DAMAGE[kind](op)
    found = bench.check()
    wrong = [each for each in found if not each.right]
    assert {each.op for each in wrong} == {f"ttnn.{op}"}
    assert len(wrong) == sum(each.op == f"ttnn.{op}" for each in found)
    assert {each.stage for each in wrong} <= {"prefill", "later chunk", "decode"}
    assert all(each.corrected is None for each in found)


def test_what_cannot_be_corrected_is_said(bench: Any, faults: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        message = "TT_FATAL: no such buffer"
        raise RuntimeError(message)

    bench.expect()
    faults.DAMAGE["scaled"]("rms_norm")
    monkeypatch.setattr(check, "write_devices", fails)
    first = next(each for each in bench.check() if not each.right)
    assert first.op == "ttnn.rms_norm"
    assert first.corrected == "RuntimeError: TT_FATAL: no such buffer"


def test_a_correction_that_does_not_arrive_is_said(
    bench: Any, faults: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.expect()
    faults.DAMAGE["scaled"]("rms_norm")
    monkeypatch.setattr(check, "write_devices", lambda *_: None)
    first = next(each for each in bench.check() if not each.right)
    assert first.corrected == "read back, the tensor does not hold what was written"


def test_another_op_in_the_stream_ends_the_comparison_and_names_both(bench: Any, tmp_path: Any) -> None:
    count = bench.expect()
    (tmp_path / "values" / "40.pt").unlink()
    for number in range(41, count):
        (tmp_path / "values" / f"{number}.pt").rename(tmp_path / "values" / f"{number - 1}.pt")
    with pytest.raises(StreamDiffers, match=r"ttnn\.\w+.* on the device, where the simulator has ttnn\."):
        bench.check()


def test_a_stream_that_ends_early_is_found(bench: Any, tmp_path: Any) -> None:
    count = bench.expect()
    last = tmp_path / "values" / f"{count - 1}.pt"
    last.with_name(f"{count}.pt").write_bytes(last.read_bytes())
    with pytest.raises(StreamDiffers, match="the end of the stream on the device, where the simulator has ttnn"):
        bench.check()


def test_ops_go_through_the_door_once_and_it_is_closed_after_them(bench: Any) -> None:
    from ttnn.decorators import FastOperation

    from ttfamily.verify.door import every_op

    before, seen = FastOperation.__call__, []

    def around(call: Any) -> Any:
        seen.append(call.name)
        ttnn.add(x, x)  # of the one who stands there: it goes straight through
        return call.run()

    x = ttnn.zeros([1, 1, 32, 32], dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=bench.mesh.device)
    with every_op(around):
        ttnn.add(x, x)
    assert seen == ["ttnn.add"]
    assert FastOperation.__call__ is before
