"""Where ttfamily keeps what it can make again: one folder, outside every working directory."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ttfamily.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

CACHE_VARIABLE = "TTFAMILY_CACHE"


def cache_folder(environ: Mapping[str, str] | None = None, platform: str = sys.platform) -> Path:
    """Return the folder for demo checkpoints, simulator files and converted weights.

    ``TTFAMILY_CACHE`` names it; without that it is ``ttfamily`` in the user's cache folder
    (``XDG_CACHE_HOME`` or ``~/.cache`` on Linux, ``~/Library/Caches`` on macOS). The folder is
    not made here: who writes, makes it.

    :param environ: the environment to read; the process's own by default.
    :param platform: as ``sys.platform`` spells it.
    :raises ConfigError: if the variable that decides holds a relative path, which would mean
        another folder in every working directory.
    """
    environ = os.environ if environ is None else environ
    if chosen := environ.get(CACHE_VARIABLE):
        return _absolute(CACHE_VARIABLE, chosen)
    if platform == "darwin":
        return Path.home() / "Library" / "Caches" / "ttfamily"
    # The XDG specification has relative values ignored, not refused.
    base = Path(environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "ttfamily"


def _absolute(variable: str, value: str) -> Path:
    path = Path(value).expanduser()
    if not path.is_absolute():
        raise ConfigError(
            variable, got=repr(value), expected="an absolute path", fix=f"Set it to {path.absolute()}, or unset it."
        )
    return path
