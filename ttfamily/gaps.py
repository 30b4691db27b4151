"""What stands in a new plugin where its author has something to write."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn

from ttfamily.errors import TtfamilyError


class NotFilledIn(TtfamilyError):  # noqa: N818 -- the name says what it is; "NotFilledInError" says it twice
    """A place in a new plugin that its author has not written yet."""


def fill_in(what: str) -> NoReturn:
    """Mark a gap in a plugin: raises with the file and line of the call, and what belongs there.

    ``ttfamily new-plugin`` writes these calls. A checked-in plugin has none.

    :param what: what the author has to write, and where to look it up.
    :raises NotFilledIn: always.
    """
    __tracebackhide__ = True  # pytest then shows the author's line, not this one
    caller = sys._getframe(1)  # noqa: SLF001 -- the documented way to the caller's line
    file = Path(caller.f_code.co_filename)
    if file.is_relative_to(Path.cwd()):
        file = file.relative_to(Path.cwd())
    raise NotFilledIn(
        f"{file}:{caller.f_lineno}",
        got="a gap",
        expected=what,
        fix="Write it there, and delete the call of fill_in().",
    )
