"""The hooks a plugin implements, and the contract they belong to; the built-in families use the same ones.

A plugin is the module or object that an entry point of the group ``ttfamily`` names. It says which
contract it was written for::

    TTFAMILY_CONTRACT = 2

This is looked at before anything else: a plugin for another contract is reported as broken, by name,
and none of its hooks is registered or called.

``CONTRACT`` grows by one when a plugin that worked may have to change: a hook takes or returns
something else, a field of :class:`~ttfamily.family.Family` or of a spec goes away or means something
else, a block is built or called in another way. It stays where a plugin need not notice: a new hook, a
new field with a default, a new public name. ``OLDEST_CONTRACT`` is the oldest one that still works; the
changelog says what a plugin has to do when it moves.

======== ==========================================================================================
contract since it
======== ==========================================================================================
1        a family's own block is built with its weights
2        a family's own block is built from the plan, and takes its weights in ``load``; a plugin of
         contract 1 that brings no block need not notice
======== ==========================================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ttfamily.core.mesh.boards import Board
    from ttfamily.family import Family

PROJECT = "ttfamily"
CONTRACT = 2
OLDEST_CONTRACT = 1

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def ttfamily_families() -> Iterable[Family]:  # type: ignore[empty-body]
    """Return the model families this plugin provides.

    Called once, at the first look-up, before any device is open. Build values only: read no
    checkpoint, touch no device, and leave torch and ttnn unimported, since listing the families
    must stay quick.

    :returns: one :class:`~ttfamily.family.Family` per graph shape, never one per model size; no
        name twice.
    """


@hookspec
def ttfamily_boards() -> Iterable[Board]:  # type: ignore[empty-body]
    """Return meshes that can then be asked for by name: ``mesh="my-board"``, ``"my-board/dp2"``.

    Called once, with :func:`ttfamily_families`, and as quick: build values only.

    :returns: one :class:`~ttfamily.core.mesh.boards.Board` for each; no name that another board has.
    """
