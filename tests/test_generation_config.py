"""The ids that end a text, from generation_config.json and config.json."""

from __future__ import annotations

import json
import logging
import re
from typing import TYPE_CHECKING

import pytest

from ttfamily.core.config.hf_config import HfConfig
from ttfamily.errors import CheckpointError
from ttfamily.generation_config import eos_token_ids

if TYPE_CHECKING:
    from pathlib import Path

VOCAB = 100
JSON = '{"eos_token_id": 7}'


def ids(folder: Path, in_config: object = 3) -> frozenset[int]:
    return eos_token_ids(folder, HfConfig.of({"eos_token_id": in_config}, "config.json"), VOCAB)


def write(folder: Path, value: object) -> Path:
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": value}))
    return folder


def test_generation_config_goes_before_config(tmp_path: Path) -> None:
    assert ids(tmp_path) == {3}
    (tmp_path / "generation_config.json").write_text("{}")
    assert ids(tmp_path) == {3}
    assert ids(write(tmp_path, [7, 8])) == {7, 8}


@pytest.mark.parametrize(("value", "expected"), [(2, {2}), ([2, 3, 2], {2, 3}), (None, set()), ([], set()), (0, {0})])
def test_an_id_a_list_or_nothing_is_read(tmp_path: Path, value: object, expected: set[int]) -> None:
    assert ids(write(tmp_path, value)) == expected
    assert ids(tmp_path / "nowhere", value) == expected


@pytest.mark.parametrize("value", ["2", ["2", "a"], True, [True], {"a": 1}, [None], 2.0, [{"a": 1}], [[2]], "", 1e400])
def test_ids_of_another_type_are_refused_by_key_and_file(tmp_path: Path, value: object) -> None:
    with pytest.raises(CheckpointError, match=r"eos_token_id in .*generation_config\.json"):
        ids(write(tmp_path, value))
    with pytest.raises(CheckpointError, match=r"eos_token_id in config\.json"):
        ids(tmp_path / "nowhere", value)


@pytest.mark.parametrize("value", [-1, VOCAB, 2**70])
def test_an_id_outside_the_vocabulary_is_dropped_with_a_warning(
    tmp_path: Path, value: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="ttfamily"):
        assert ids(write(tmp_path, [5, value])) == {5}
    assert re.search(r"eos_token_id in .*generation_config\.json: dropped .* 100 tokens", caplog.text)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[1, 2]", b"null", b"\x80\x81", b"not JSON", b'{"eos_token_id": ' + b"[" * 100_000],
    ids=["empty", "cut", "list", "null", "bytes", "words", "nested"],
)
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "generation_config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"generation_config\.json: got .*JSON.*Download"):
        ids(tmp_path)


def test_a_directory_in_its_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").mkdir()
    with pytest.raises(CheckpointError, match=r"generation_config\.json: got Is a directory"):
        ids(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_a_byte_order_mark_or_wide_characters_do_no_harm(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "generation_config.json").write_bytes(JSON.encode(encoding))
    assert ids(tmp_path) == {7}
