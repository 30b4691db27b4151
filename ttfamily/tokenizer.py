"""A checkpoint's tokenizer, made by transformers from the tokenizer's own files, and text to token ids through it."""

from __future__ import annotations

import json
import re
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttfamily.errors import RequestError, first_line
from ttfamily.tokenizer_errors import VOCABULARIES, blame, check_files, is_panic, try_out

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import PreTrainedTokenizerBase

    from ttfamily.core.config.hf_config import HfConfig

_VERSION = re.compile(r"\d+(\.\d+)+(\.dev\d+)?")


def load_tokenizer(folder: Path, config: HfConfig) -> PreTrainedTokenizerBase | None:
    """Return the folder's tokenizer, or None if it has none.

    :raises CheckpointError: naming the file, if one is damaged, or if the tokenizer cannot be made without
        running code of the checkpoint.
    """
    check_files(folder)
    if not any((folder / name).exists() for name in (*VOCABULARIES, "tokenizer_config.json")):
        return None
    from transformers import AutoTokenizer

    try:
        with _tokenizer_files(folder, config) as files:
            # Unasked, transformers would offer to run the checkpoint's own code.
            tokenizer = AutoTokenizer.from_pretrained(files, trust_remote_code=False)
        tokenizer.name_or_path = str(folder)
        try_out(tokenizer)
    except BaseException as error:
        # Validators, json, tokenizers and transformers raise some forty classes of Exception here.
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        raise blame(folder, error) from error
    return tokenizer


def encode(tokenizer: PreTrainedTokenizerBase, text: str, *, add_special_tokens: bool = True) -> list[int]:
    """Return a text's token ids.

    :param add_special_tokens: whether the tokenizer puts its begin and end tokens around the text.
    :raises RequestError: if the text holds half of a surrogate pair or what the vocabulary has no token for, or
        tokenizer.json has a regular expression that does not come to an end on it.
    """
    check_text("prompt", text)
    try:
        return list(tokenizer(text, add_special_tokens=add_special_tokens)["input_ids"])
    except Exception as error:  # the tokenizers library raises Exception itself
        raise RequestError(
            "prompt",
            got=f"a text that the tokenizer does not take ({first_line(error)})",
            expected="text of its vocabulary",
            fix="Change the prompt, or pass token ids.",
        ) from error
    except BaseException as error:
        if not is_panic(error):
            raise
        raise RequestError(
            str(Path(tokenizer.name_or_path) / "tokenizer.json"),
            got=f"a pre-tokenizer that fails on this prompt of {len(text)} characters ({first_line(error)})",
            expected="a regular expression that does not backtrack without end",
            fix="Correct its pre_tokenizer, or pass token ids.",
        ) from error


def check_text(who: str, text: str) -> None:
    """Check that a text can be written as UTF-8, which is what tokenizers read.

    :raises RequestError: naming ``who``, if it holds half of a surrogate pair.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RequestError(
            who,
            got=f"half of a surrogate pair, {text[error.start]!a}, at character {error.start}",
            expected="text that can be written as UTF-8",
            fix='Decode the text with errors="replace", or remove the character.',
        ) from error


@contextmanager
def _tokenizer_files(folder: Path, config: HfConfig) -> Iterator[Path]:
    """Make a folder of links to a checkpoint's files, with a config.json of only what chooses the tokenizer's class.

    transformers checks all of config.json before it looks for the class, with other rules than the model's
    own reading (an integer rms_norm_eps is an error there): so one of two readings would decide by chance.
    """
    kept: dict[str, Any] = {key: config.raw.get(key) for key in ("model_type", "tokenizer_class")}
    version = config.raw.get("transformers_version")  # old ones wrote another regular expression for Mistral
    kept["transformers_version"] = version if isinstance(version, str) and _VERSION.fullmatch(version) else None
    with tempfile.TemporaryDirectory(prefix="ttfamily-") as made:
        files = Path(made)
        (files / "config.json").write_text(json.dumps({k: v for k, v in kept.items() if isinstance(v, str)}))
        for entry in folder.iterdir():
            if entry.name != "config.json":
                (files / entry.name).symlink_to(entry.absolute())
        yield files
