"""From a name or a folder to the folder of a checkpoint, through the Hugging Face hub."""

from __future__ import annotations

import os
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from ttfamily.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Sequence

_EXPECTED = "a folder with config.json and safetensors files, or a model id of the Hugging Face hub"
WANTED = ["*.json", "*.safetensors", "*.jinja", "tokenizer.model", "*.txt"]


def checkpoint_folder(
    name_or_folder: str | PathLike[str], revision: str | None = None, *, files: Sequence[str] = WANTED
) -> Path:
    """Return the local folder of a checkpoint, downloading a hub model if it is not in the hub's cache.

    :param files: patterns of what to download.
    :raises CheckpointError: if it is neither, there is no such folder, or the hub has no such model or is out of reach.
    """
    name = _text(name_or_folder)
    try:
        folder = Path(name).expanduser()
        if folder.is_dir():
            return folder
        is_file = folder.is_file()
    except (OSError, RuntimeError) as error:  # a name too long, a folder that is closed to us, a home of no user
        got = f"a path that cannot be looked at ({error})"
        raise CheckpointError(name, got=got, expected=_EXPECTED, fix="Check the path.") from error
    if is_file:
        fix = f"Pass the folder that it is in: {folder.parent}"
        raise CheckpointError(name, got="a file", expected=_EXPECTED, fix=fix)
    if isinstance(name_or_folder, PathLike) or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise CheckpointError(name, got="no such folder", expected=_EXPECTED, fix="Check the path.")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(files)))
    except HFValidationError as error:
        got, expected = "neither a folder nor a model id", 'a folder, or an id like "owner/model"'
        raise CheckpointError(name, got=got, expected=expected, fix="Check it.") from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, ConnectionError) as error:
        raise CheckpointError(
            name,
            got="a model that is not in the local cache, and no way to the Hugging Face hub from here",
            expected="a connection, or a model downloaded before",
            fix="Download it where there is a connection and pass its folder, or check HF_HUB_OFFLINE.",
        ) from error
    except HfHubHTTPError as error:
        raise CheckpointError(
            name,
            got=f"the hub's answer: {str(error).splitlines()[0]}",
            expected="a model that exists and that you may read",
            fix='Check the id and revision; for a gated model accept its terms and run "hf auth login".',
        ) from error


def _text(name_or_folder: object) -> str:
    name = os.fspath(name_or_folder) if isinstance(name_or_folder, (str, PathLike)) else None
    if not isinstance(name, str):
        got = f"{type(name_or_folder).__name__}, which is neither text nor a path"
        raise CheckpointError("name_or_folder", got=got, expected=_EXPECTED, fix="Pass a str or a pathlib.Path.")
    if not name.strip():
        fix = 'Pass "." if the current folder is meant.'
        raise CheckpointError("name_or_folder", got=f"{name!r}", expected=_EXPECTED, fix=fix)
    return name
