"""A message is one line that any terminal can show, whatever it quotes; its parts stay whole."""

from __future__ import annotations

import pickle

import pytest

from ttfamily.commands.messages import reported
from ttfamily.errors import LONGEST, CheckpointError, TtfamilyError, printable


@pytest.mark.parametrize(("text", "shown"), [
    ("plain, with 'quotes' and ünïcode", "plain, with 'quotes' and ünïcode"),
    ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
    ("\x9b2J", "\\x9b2J"),
    ("two\nlines\r\n  and\ta tab", "two lines and a tab"),
    ("right\u202eto left", "right\\u202eto left"),
    ("\ud800", "\\ud800"),
    ("\x00\x07", "\\x00\\x07"),
])  # fmt: skip
def test_what_is_not_printable_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert shown.isprintable()


def test_a_long_part_loses_its_middle_and_says_how_long_it_was() -> None:
    short = printable("a" * 10**6 + "end")
    assert short.startswith("aaa")
    assert short.endswith("aend")
    assert "(1,000,003 characters)" in short
    assert len(short) < LONGEST + 50
    assert printable("b" * LONGEST) == "b" * LONGEST


def test_the_message_is_clean_and_bounded_and_the_attributes_are_whole() -> None:
    wild = "\x1b[2J" + "k" * 10**6 + "\ud800"
    error = TtfamilyError(wild, got=wild, expected=wild, fix=wild)
    assert (error.who, error.got, error.expected, error.fix) == (wild,) * 4
    assert str(error).isprintable()
    assert len(str(error)) < 5 * LONGEST
    str(error).encode()


def test_an_error_survives_a_process_boundary() -> None:
    error = CheckpointError("a\x1b", got="b", expected="c", fix="d")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 -- our own bytes
    assert (type(again), str(again), again.who) == (CheckpointError, str(error), "a\x1b")


def test_escape_sequences_never_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), reported(traceback=False):
        raise TtfamilyError("\x1b]0;who\x07", got="\x1b[2Jgot", expected="\ud800", fix="\x9b1m")
    shown = capsys.readouterr().err
    assert shown.replace("\n", "").isprintable()
    assert "\\x1b[2Jgot" in shown
