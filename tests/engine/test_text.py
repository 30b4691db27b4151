"""Text comes out piece by piece, whole characters only, and ends where it should."""

from __future__ import annotations

import pytest

from ttfamily.engine.text import TextStream


class Bytes:
    """A tokenizer whose tokens are the bytes of UTF-8."""

    def decode(self, ids: list[int], *, skip_special_tokens: bool) -> str:
        assert skip_special_tokens
        return bytes(ids).decode("utf-8", errors="replace")


def stream(text: str, *stop: str) -> tuple[list[str], TextStream]:
    """Push every byte of ``text`` until the stream says stop; return the pieces, the last held-back one included."""
    out = TextStream(Bytes(), stop)
    pieces = []
    for byte in text.encode():
        pieces.append(out.push(byte))
        if out.stopped:
            break
    return [*pieces, out.finish()], out


def test_pieces_join_to_the_text() -> None:
    assert "".join(stream("plain text")[0]) == "plain text"


def test_half_a_character_is_held_back() -> None:
    pieces, _ = stream("aé€😀b")
    assert "".join(pieces) == "aé€😀b"
    assert all("\ufffd" not in piece for piece in pieces)


def test_a_text_that_ends_in_half_a_character_is_given_as_it_is() -> None:
    out = TextStream(Bytes(), ())
    assert [out.push(byte) for byte in "é".encode()[:1]] == [""]
    assert out.finish() == "\ufffd"


@pytest.mark.parametrize("stop", ["\n\n", "END", "é!", "c"])
def test_a_stop_string_over_several_tokens_ends_the_text_before_it(stop: str) -> None:
    pieces, out = stream(f"ab{stop}more", stop)
    assert "".join(pieces) == "ab"
    assert out.stopped


def test_the_stop_string_that_stands_first_wins() -> None:
    assert "".join(stream("one two three", "three", "two", "wo th")[0]) == "one "


def test_what_could_become_a_stop_string_comes_once_it_cannot() -> None:
    pieces, out = stream("a-->-->>b", "-->>>")
    assert "".join(pieces) == "a-->-->>b"
    assert not out.stopped


def test_nothing_of_a_stop_string_is_given_early() -> None:
    out = TextStream(Bytes(), ["STOP"])
    assert "".join(out.push(byte) for byte in b"x ST") == "x "
    assert out.finish() == "ST"
