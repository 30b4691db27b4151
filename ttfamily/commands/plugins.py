"""Which plugins a command may use: what the options and the environment say, looked up when it is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from ttfamily.registry import FamilyRegistry


@attrs.frozen(kw_only=True)
class PluginChoice:
    """What the user said about plugins; nothing is imported before a command asks for them.

    :param strict: a plugin that cannot be loaded ends the command.
    :param disabled: names of plugins that are not to be imported, as :func:`ttfamily.discovery.discover` has them.
    """

    strict: bool = False
    disabled: tuple[str, ...] = ()

    def registry(self) -> FamilyRegistry:
        """Import the plugins and return their families.

        :raises PluginError: where ``strict``, for the first plugin that cannot be loaded.
        """
        from ttfamily.discovery import discover

        return discover(strict=self.strict, disabled=self.disabled)
