"""A process that does not move is ended; one that moves, however slowly, is not."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttfamily.verify.heartbeat import MOST_CHARACTERS, PAGE, Beat, Heartbeat, read_beat
from ttfamily.verify.watchdog import Stillness, watch

if TYPE_CHECKING:
    from pathlib import Path

    from ttfamily.verify.watchdog import Ended

HEAD = "import sys, time, os\nfrom ttfamily.verify.heartbeat import Heartbeat\nfrom pathlib import Path\n"


def run(folder: Path, body: str, patience: float = 60.0) -> Ended:
    beat = folder / "beat"
    code = f"{HEAD}heartbeat = Heartbeat(Path({str(beat)!r}))\n{body}"
    return watch(["-c", code], heartbeat=beat, log=folder / "log", patience=patience)


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0.01, 5)), max_size=30), st.floats(0.1, 10))
def test_only_a_number_that_stays_for_longer_than_the_limit_is_a_hang(
    moves: list[tuple[int, float]], limit: float
) -> None:
    still, now, since, number = Stillness(limit=limit), 0.0, 0.0, 0
    still.too_long(number, now)
    for more, seconds in moves:
        now += seconds
        if more:
            number, since = number + more, now
        assert still.too_long(number, now) == (now - since > limit)


def test_a_process_that_hangs_is_ended_and_its_last_beat_is_kept(tmp_path: Path) -> None:
    ended = run(tmp_path, "heartbeat.beat(part='ops', doing='ttnn.linear')\ntime.sleep(1000)", patience=3.0)
    assert (ended.how, ended.status) == ("hung", -9)
    assert ended.last is not None
    assert (ended.last.part, ended.last.doing) == ("ops", "ttnn.linear")


def test_a_process_that_dies_leaves_its_last_beat_and_the_end_of_its_log(tmp_path: Path) -> None:
    ended = run(
        tmp_path, "heartbeat.beat(doing='ttnn.add')\nprint('line\\n' * 50 + 'the last', flush=True)\nos.abort()"
    )
    assert (ended.how, ended.status) == ("died", -6)
    assert ended.last is not None
    assert ended.last.doing == "ttnn.add"
    assert ended.log.splitlines()[-1] == "the last"
    assert len(ended.log.splitlines()) == 20


def test_a_process_that_moves_slowly_is_left_to_its_end(tmp_path: Path) -> None:
    ended = run(tmp_path, "for _ in range(8):\n    heartbeat.step()\n    time.sleep(0.5)", patience=3.0)
    assert ended.how == "finished"
    assert ended.last is not None
    assert ended.last.done == 8


def test_a_process_that_never_beats_is_ended_too(tmp_path: Path) -> None:
    waits = ["-c", "import time; time.sleep(1000)"]
    ended = watch(waits, heartbeat=tmp_path / "none", log=tmp_path / "log", patience=60.0, starting=1.0)
    assert (ended.how, ended.last) == ("hung", None)


def test_whoever_stops_waiting_ends_the_process(tmp_path: Path) -> None:
    beat = tmp_path / "beat"

    def interrupted(_beat: Beat) -> None:
        raise KeyboardInterrupt

    code = f"{HEAD}print(os.getpid(), flush=True)\nheartbeat = Heartbeat(Path({str(beat)!r}))\ntime.sleep(1000)"
    with pytest.raises(KeyboardInterrupt):
        watch(["-c", code], heartbeat=beat, log=tmp_path / "log", patience=60.0, show=interrupted)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "log").read_text()), 0)


@given(st.text(max_size=3 * PAGE), st.text(max_size=3 * PAGE))
def test_a_beat_is_read_as_it_was_written_but_for_its_length(
    tmp_path_factory: pytest.TempPathFactory, doing: str, arguments: str
) -> None:
    file = tmp_path_factory.mktemp("beat") / "beat"
    heartbeat = Heartbeat(file)
    heartbeat.beat(part="ops", doing=doing, arguments=arguments)
    found = read_beat(file)
    assert found is not None
    assert found == heartbeat.last
    assert found.number == 2
    assert doing.startswith(found.doing)
    assert len(found.doing) == min(len(doing), MOST_CHARACTERS)
    heartbeat.beat(doing="short", arguments="")  # over whatever length
    assert read_beat(file) == heartbeat.last


@pytest.mark.parametrize(
    ("beat", "text"),
    [
        (
            {"subject": "llama", "doing": "ttnn.add", "arguments": "bfloat16 [1]"},
            "ttnn.add(bfloat16 [1]), in ops of llama",
        ),
        ({"doing": "decode step 3"}, "decode step 3, in ops"),
        ({}, "ops"),
    ],
)
def test_a_beat_reads_as_a_place(beat: dict[str, str], text: str) -> None:
    assert str(Beat(number=1, part="ops", **beat)) == text  # type: ignore[arg-type]
