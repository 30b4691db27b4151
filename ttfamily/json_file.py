"""A JSON object from one of a checkpoint's small files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ttfamily.core.config.json_text import parse
from ttfamily.errors import CheckpointError, first_line

if TYPE_CHECKING:
    from pathlib import Path


def read_object(file: Path) -> dict[str, Any]:
    """Return the JSON object of a file in UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    :raises CheckpointError: naming the file, if it cannot be read, holds anything else, or has a key twice.
    """
    try:
        value = parse(file.read_bytes())
    except OSError as error:
        got = error.strerror or type(error).__name__
        raise CheckpointError(str(file), got=got, expected="a file", fix="Download the file again.") from error
    except (ValueError, RecursionError) as error:
        got = f"broken JSON ({first_line(error)})"
        raise CheckpointError(str(file), got=got, expected="a JSON object", fix="Download the file again.") from error
    if not isinstance(value, dict):
        got = f"a JSON {type(value).__name__}"
        raise CheckpointError(str(file), got=got, expected="a JSON object", fix="Download the file again.")
    return value
