"""The demo's checkpoint: made once in Hugging Face format, kept in the cache folder, used again."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ttfamily.demo.quiet import no_progress_bars
from ttfamily.demo.tokens import encode_all, train_tokenizer
from ttfamily.demo.training import train
from ttfamily.errors import ConfigError
from ttfamily.paths import CACHE_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ttfamily.demo.recipe import Recipe


def checkpoint(
    recipe: Recipe, documents: Sequence[str], cache: Path, on_step: Callable[[int, float], None]
) -> tuple[Path, bool]:
    """Return the folder of the recipe's checkpoint, and whether it was there before.

    It appears under its name in one step and complete: an interrupted run leaves nothing
    there, and of two processes that make it at once the first to finish wins.

    :param cache: the folder of all checkpoints; made if it is not there.
    :param on_step: see :func:`ttfamily.demo.training.train`.
    :raises ConfigError: if nothing can be written there.
    """
    folder = cache / recipe.name(documents)
    if folder.is_dir():
        return folder, True
    unfinished = _new_folder(cache, folder.name)
    try:
        _make(recipe, documents, unfinished, on_step)
        _move(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder, False


def _new_folder(cache: Path, name: str) -> Path:
    try:
        cache.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f".{name}-", dir=cache))
    except OSError as error:
        raise ConfigError(
            "cache folder",
            got=f"{cache}: {error.strerror}",
            expected="a folder that can be written to",
            fix=f"Set {CACHE_VARIABLE} to one.",
        ) from error


def _make(recipe: Recipe, documents: Sequence[str], folder: Path, on_step: Callable[[int, float], None]) -> None:
    tokenizer = train_tokenizer(documents, recipe.vocab_size, recipe.max_position_embeddings)
    tokens = encode_all(tokenizer, documents)
    model = train(recipe, tokens, begin=tokenizer.bos_token_id, end=tokenizer.eos_token_id, on_step=on_step)
    # bfloat16, as published checkpoints are: the reference then reads the same weights as the device.
    with no_progress_bars():
        model.to(torch.bfloat16).save_pretrained(folder, max_shard_size=recipe.shard_size)
    tokenizer.save_pretrained(folder)


def _move(unfinished: Path, folder: Path) -> None:
    try:
        unfinished.rename(folder)
    except OSError:
        # A folder that is not empty cannot be replaced: another process was first.
        if not folder.is_dir():
            raise
