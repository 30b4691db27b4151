"""A checkpoint's tokenizer, and the tokens that end a text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ttfamily.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

    from ttfamily.core.config.hf_config import HfConfig


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase | None:
    """Return the folder's tokenizer, or None if it has none.

    :raises CheckpointError: if it is damaged, or cannot be made without running code of the checkpoint.
    """
    if not any((folder / name).exists() for name in ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")):
        return None
    from transformers import AutoTokenizer

    try:
        # Unasked, transformers would offer to run the checkpoint's own code.
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except ValueError as error:
        raise CheckpointError(
            str(folder / "tokenizer_config.json"),
            got=f"a tokenizer that transformers does not make ({str(error).splitlines()[0]})",
            expected="one of transformers' own, or tokenizer.json; code from a checkpoint is never run",
            fix="Save the tokenizer as tokenizer.json, or remove its files and pass token ids.",
        ) from error


def eos_token_ids(folder: Path, config: HfConfig) -> frozenset[int]:
    """Return the ids that end a text: those of generation_config.json, else of config.json."""
    ids = config.raw.get("eos_token_id")
    generation = folder / "generation_config.json"
    if generation.exists():
        ids = json.loads(generation.read_text()).get("eos_token_id", ids)
    return frozenset([ids] if isinstance(ids, int) else ids or ())
