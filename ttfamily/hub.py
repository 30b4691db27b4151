"""From a name or a folder to the folder of a checkpoint, through the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ttfamily.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Sequence

WANTED = ["*.json", "*.safetensors", "*.jinja", "tokenizer.model", "*.txt"]


def checkpoint_folder(
    name_or_folder: str | Path, revision: str | None = None, *, files: Sequence[str] = WANTED
) -> Path:
    """Return the local folder of a checkpoint, downloading a hub model if it is not in the hub's cache.

    :param files: patterns of what to download.
    :raises CheckpointError: if there is no such folder, or the hub has no such model or is out of reach.
    """
    folder = Path(name_or_folder).expanduser()
    if folder.is_dir():
        return folder
    name = str(name_or_folder)
    if isinstance(name_or_folder, Path) or name.startswith((".", "/", "~")) or name.count("/") > 1 or not name:
        raise CheckpointError(
            name or "name_or_folder",
            got="no such folder",
            expected="a folder with config.json and safetensors files, or a model id of the Hugging Face hub",
            fix="Check the path.",
        )
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
