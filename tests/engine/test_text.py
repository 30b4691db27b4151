"""Text comes out piece by piece, whole characters only, and ends where it should."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from ttfamily.engine.text import INCOMPLETE, LONGEST, TextStream, overlap


class Bytes:
    """A tokenizer whose tokens are the bytes of UTF-8."""

    decoded = 0

    def decode(self, ids: list[int], *, skip_special_tokens: bool) -> str:
        assert skip_special_tokens
        self.decoded += len(ids)
        return bytes(ids).decode("utf-8", errors="replace")

    def convert_ids_to_tokens(self, token: int) -> str:
        return chr(token)


class PlainStream:
    """The plain way: decode all ids anew at every token, and look through the whole text."""

    def __init__(self, tokenizer: Any, stop: tuple[str, ...]) -> None:
        self.tokenizer, self.stop, self.ids, self.text, self.given, self.stopped = tokenizer, stop, [], "", 0, False

    def push(self, token: int) -> str:
        self.ids.append(token)
        self.text = self.tokenizer.decode(self.ids, skip_special_tokens=True)
        ends = [self.text.find(s) for s in self.stop if s in self.text]
        if ends:
            self.stopped, self.text = True, self.text[: min(ends)]
        elif self.text.endswith(INCOMPLETE):
            return ""
        ways = (n for s in self.stop for n in range(1, len(s)) if self.text.endswith(s[:n]))
        return self.give(len(self.text) - (0 if self.stopped else max(ways, default=0)))

    def finish(self) -> str:
        return self.give(len(self.text))

    def give(self, end: int) -> str:
        piece, self.given = self.text[self.given : end], max(self.given, end)
        return piece


WORDS = ["a", "b", "c", "do", "n", "'t", "'s", ".", ",", "!", "?", "\u2581", "\u2581a", "\u2581the", "\u2581n't",
         "\u2581.", "\u2581'", "##ing", "##s", "\u00e9", "\U0001f600", "\u0120", "\u0120a", "\u010a"]  # fmt: skip
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def tokenizer(kind: str) -> PreTrainedTokenizerFast:
    """One of the ways in which tokens become text; every one has special tokens that are left out."""
    byte_level = {"bytes": "".join(chr(i) for i in range(33, 127)) + "\u00a1\u00ac\u00ae\u00c3\u00a9\u00e2\u0124"}
    tokens = [*WORDS, *byte_level["bytes"], *(BYTES if kind == "sentencepiece" else ())]
    vocab = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    if kind == "wordpiece":
        raw = Tokenizer(models.WordPiece(vocab | {"[UNK]": len(vocab)}, unk_token="[UNK]"))  # noqa: S106 -- a token of text
        raw.decoder = decoders.WordPiece()
    else:
        raw = Tokenizer(models.BPE(vocab, [], byte_fallback=kind == "sentencepiece"))
        raw.decoder = {
            "byte level": decoders.ByteLevel(),
            "cleaned up": decoders.ByteLevel(),
            "metaspace": decoders.Metaspace(),
            "sentencepiece": decoders.Sequence([
                decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0),
            ]),
        }[kind]  # fmt: skip
    raw.add_special_tokens([AddedToken("<s>", special=True), AddedToken("<pad>", special=True)])
    cleaned = kind == "cleaned up"
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        clean_up_tokenization_spaces=cleaned,
        clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output=cleaned,
    )


KINDS = {kind: tokenizer(kind) for kind in ("byte level", "cleaned up", "metaspace", "sentencepiece", "wordpiece")}
STOPS = st.lists(st.text("abdnot .'s\u00e9" + INCOMPLETE, min_size=1, max_size=12), max_size=3).map(tuple)


@st.composite
def ids_of(draw: st.DrawFn, size: int) -> list[int]:
    """Mostly words; runs of bytes, which may be no text; runs of special tokens, which are left out."""
    few = st.lists(st.integers(0, size - 1), min_size=1, max_size=8)
    run = st.integers(0, size - 1).flatmap(lambda token: st.integers(1, 40).map(lambda n: [token] * n))
    words = st.lists(st.integers(0, len(WORDS) - 1), min_size=1, max_size=40)
    parts = draw(st.lists(st.one_of(words, words, few, run), min_size=1, max_size=20))
    return [token for part in parts for token in part]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60)
@given(data=st.data(), stop=STOPS)
def test_every_piece_is_that_of_the_whole_text_decoded_anew(
    kind: str, data: st.DataObject, stop: tuple[str, ...]
) -> None:
    made = KINDS[kind]
    one, other = TextStream(made, stop), PlainStream(made, stop)
    for token in data.draw(ids_of(len(made))):
        assert one.push(token) == other.push(token)
        assert one.stopped == other.stopped
        if one.stopped:
            break
    assert one.finish() == other.finish()


def test_a_long_text_costs_as_much_a_token_as_a_short_one() -> None:
    made, stop = Bytes(), ["never", "x" * 1000]
    stream, text = TextStream(made, stop), b"all work and no play makes a dull text; " * 100
    pieces = []
    for count, byte in enumerate(text):
        before = made.decoded
        pieces.append(stream.push(byte))
        assert made.decoded - before <= 2 * LONGEST, count
    assert "".join(pieces) + stream.finish() == text.decode()
    assert len(stream._text) <= 1000 + 2 * LONGEST


@given(text=st.text("ab", max_size=12), stop=st.text("ab", min_size=1, max_size=6))
def test_the_overlap_is_the_longest_end_that_begins_a_stop_string(text: str, stop: str) -> None:
    assert overlap(text, stop) == max((n for n in range(1, len(stop)) if text.endswith(stop[:n])), default=0)


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
