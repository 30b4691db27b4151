"""Which file of a tokenizer is at fault when transformers does not make it, and what to do."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from ttfamily.errors import CheckpointError, first_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VOCABULARIES = ("tokenizer.json", "tokenizer.model")
SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
TEMPLATE = "chat_template.jinja"

_TRIAL = "A quick brown fox jumps over 12 lazy dogs and rests among them for the whole of a day!"
_AGAIN = "Download the file again."


def blame(folder: Path, error: BaseException) -> CheckpointError:
    """Return the error for a tokenizer that was not made, with the file's name.

    transformers' own message often names another file, or a package, so each file is looked at by itself first.

    :param error: what transformers raised.
    """
    for file in (*(folder / name for name in SETTINGS), *_templates(folder)):
        damage = _damage_of_text(file) if file.exists() else None
        if damage is not None:
            kind = "a JSON object" if file.suffix == ".json" else "text"
            return CheckpointError(str(file), got=damage, expected=f"{kind} in UTF-8", fix=_AGAIN)
    said = first_line(error)
    vocabulary = next((file for name in VOCABULARIES if (file := folder / name).exists()), None)
    if vocabulary is not None and vocabulary.suffix == ".model":
        return CheckpointError(
            str(vocabulary),
            got=f"a vocabulary that transformers does not read ({said})",
            expected="tokenizer.json; or a SentencePiece model, and the packages sentencepiece and protobuf",
            fix="Download tokenizer.json, or save the tokenizer anew with transformers where those are installed.",
        )
    damage = None if vocabulary is None else _damage_of_vocabulary(vocabulary)
    if damage is not None:
        got, expected = f"a tokenizer that cannot be made ({damage})", "a file that the tokenizers library wrote"
        return CheckpointError(str(vocabulary), got=got, expected=expected, fix=_AGAIN)
    settings = next((file for name in SETTINGS if (file := folder / name).exists()), vocabulary)
    return CheckpointError(
        str(settings),
        got=f"a tokenizer that transformers does not make ({said})",
        expected="settings that it takes, and tokenizer.json beside them; code from a checkpoint is never run",
        fix="Correct the file, save the tokenizer as tokenizer.json, or remove its files and pass token ids.",
    )


def check_files(folder: Path) -> None:
    """Check that what has a tokenizer file's name is a file: transformers takes anything else for an absent one.

    :raises CheckpointError: naming a directory, or a link to nothing.
    """
    for name in (*VOCABULARIES, *SETTINGS, TEMPLATE):
        file = folder / name
        if os.path.lexists(file) and not file.is_file():
            got = "a directory" if file.is_dir() else "a link to nothing"
            raise CheckpointError(str(file), got=f"{got}, no file", expected="a file, or none", fix=_AGAIN)


def is_panic(error: BaseException) -> bool:
    """Whether Rust code gave up: pyo3 raises a class that derives from BaseException and cannot be imported."""
    return type(error).__module__ == "pyo3_runtime"


def try_out(encode: Callable[[str], object]) -> None:
    """Encode two texts, since some settings of a wrong type, and a regular expression that fails, show in use only.

    :param encode: a tokenizer.
    """
    encode("")
    with suppress(Exception):  # a vocabulary without an unknown token refuses this text; a panic is no Exception
        encode(_TRIAL)


def _templates(folder: Path) -> tuple[Path, ...]:
    return (folder / TEMPLATE, *sorted((folder / "additional_chat_templates").glob("*.jinja")))


def _damage_of_text(file: Path) -> str | None:
    """Return why a file is not what transformers opens it as: UTF-8 without a byte order mark, and JSON by its name."""
    try:
        text = file.read_text(encoding="utf-8")
        value = json.loads(text) if file.suffix == ".json" else {}
    except OSError as error:
        return error.strerror or type(error).__name__
    except (ValueError, RecursionError) as error:
        return first_line(error)
    return None if isinstance(value, dict) else f"a JSON {type(value).__name__}"


def _damage_of_vocabulary(file: Path) -> str | None:
    """Return what the tokenizers library says against a tokenizer.json, or None if it is sound by itself."""
    from tokenizers import Tokenizer

    try:
        try_out(Tokenizer.from_file(str(file)).encode)
    except BaseException as error:  # the library raises Exception itself
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        return first_line(error)
    return None
