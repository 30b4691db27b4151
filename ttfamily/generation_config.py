"""What a checkpoint says of generation: the tokens that end a text."""

from __future__ import annotations

import logging
from reprlib import repr as shortened
from typing import TYPE_CHECKING

from ttfamily.errors import CheckpointError
from ttfamily.json_file import read_object

if TYPE_CHECKING:
    from pathlib import Path

    from ttfamily.core.config.hf_config import HfConfig

log = logging.getLogger("ttfamily")

FILE = "generation_config.json"
KEY = "eos_token_id"


def eos_token_ids(folder: Path, config: HfConfig, vocab_size: int) -> frozenset[int]:
    """Return the ids that end a text: those of generation_config.json if it names any key for them, else config.json's.

    An id that the model has no logit for can end nothing: it is dropped with a warning.

    :raises CheckpointError: if generation_config.json is no JSON object, or the ids are no integers.
    """
    raw, source = config.raw, config.source
    file = folder / FILE
    if file.exists():
        generation = read_object(file)
        if KEY in generation:
            raw, source = generation, str(file)
    value = raw.get(KEY)
    ids = [] if value is None else value if isinstance(value, list) else [value]
    if not all(type(i) is int for i in ids):  # bool is an int to isinstance
        raise CheckpointError(
            f"{KEY} in {source}",
            got=shortened(value),
            expected="a token's id, a list of ids, or null",
            fix="Correct it: without it a text ends at max_new_tokens only.",
        )
    inside = frozenset(i for i in ids if 0 <= i < vocab_size)
    if len(inside) < len(set(ids)):
        outside = shortened(sorted(set(ids) - inside))
        log.warning("%s in %s: dropped %s, outside the vocabulary of %d tokens", KEY, source, outside, vocab_size)
    return inside
