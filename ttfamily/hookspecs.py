"""The hooks a plugin implements; the built-in families use the same ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ttfamily.registry import Family

PROJECT = "ttfamily"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def ttfamily_families() -> Iterable[Family]:  # type: ignore[empty-body]
    """Return the model families this plugin provides.

    Called once, at the first look-up, before any device is open. Build values only: read no
    checkpoint, touch no device, and leave torch and ttnn unimported, since listing the families
    must stay quick.

    :returns: one :class:`~ttfamily.registry.Family` per graph shape, never one per model size.
    """
