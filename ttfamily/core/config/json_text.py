"""JSON as checkpoints have it, read strictly: a key that stands twice is an error, not the last one's value."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any


class RepeatedKeyError(ValueError):
    """A JSON object that has a key twice, of which every other reader takes one in silence.

    :param key: which.
    """

    def __init__(self, key: str) -> None:
        super().__init__(f"the key {key} twice in one object")
        self.key = key


def parse(text: bytes) -> Any:
    """Return what a JSON text says; in UTF-8, -16 or -32, with a byte order mark or without.

    :raises RepeatedKeyError: if an object has a key twice.
    :raises ValueError: if it is no JSON.
    :raises RecursionError: if it is nested too deep.
    """
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise RepeatedKeyError(next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1))
    return found
