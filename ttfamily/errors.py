"""Every error that ttfamily raises: who met it, what it got, what it expected, what to do."""

from __future__ import annotations

import re

LONGEST = 500
"""Characters of one part of a message; what is longer loses its middle."""

_KEPT_OF_THE_END = 100
_QUOTED = 200  # characters of another library's message


class TtfamilyError(Exception):
    """The root of all errors of this package.

    The message reads ``{who}: got {got}; expected {expected}. {fix}`` and the four parts stay
    as attributes, so that a caller can show them in its own way. The attributes are whole; the
    message has them as :func:`printable` makes them, since they quote files that anybody may have written.

    :param who: the field, file, tensor or block that found the problem.
    :param got: what was found there.
    :param expected: what would have been right.
    :param fix: what the reader can do about it, as a sentence.
    """

    def __init__(self, who: str, *, got: str, expected: str, fix: str) -> None:
        who_, got_, expected_, fix_ = map(printable, (who, got, expected, fix))
        super().__init__(f"{who_}: got {got_}; expected {expected_}. {fix_}")
        self.who = who
        self.got = got
        self.expected = expected
        self.fix = fix

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions are pickled as class(*args); keyword-only parts need a function in between,
        # or an error raised in a worker process would arrive as a TypeError.
        return _rebuild, (type(self), self.who, self.got, self.expected, self.fix)


def printable(text: str) -> str:
    """Return ``text`` as one line that any terminal can show, of at most about :data:`LONGEST` characters.

    Control characters, lone surrogates and whatever else is not printable are escaped as in a Python
    string; line breaks and tabs become spaces.
    """
    if len(text) > LONGEST:
        cut = f" ... ({len(text):,} characters) ... "
        text = text[: LONGEST - _KEPT_OF_THE_END] + cut + text[-_KEPT_OF_THE_END:]
    line = re.sub(r" *[\t\n\v\f\r]+ *", " ", text)
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in line)


def _rebuild(kind: type[TtfamilyError], who: str, got: str, expected: str, fix: str) -> TtfamilyError:
    return kind(who, got=got, expected=expected, fix=fix)


class ConfigError(TtfamilyError):
    """A model's config, or a spec made from it, that cannot be run as it stands."""


class CheckpointError(TtfamilyError):
    """Weights that are missing, damaged, left over or of the wrong shape."""


class FamilyError(TtfamilyError):
    """An architecture that no installed plugin knows."""


class FamilyConflict(TtfamilyError):  # noqa: N818 -- the name says what it is; "FamilyConflictError" says it twice
    """An architecture that more than one installed plugin claims."""


class PluginError(TtfamilyError):
    """A plugin that breaks the contract of its hooks."""


class MeshError(TtfamilyError):
    """A mesh that is unknown, cannot be opened, or does not fit the request."""


class PlanError(TtfamilyError):
    """A model that cannot be laid out on this mesh."""


class LayoutError(PlanError):
    """Sizes that this mesh has no programs for: buffers that fit no core's L1, parts that are no whole tiles."""


class RequestError(TtfamilyError):
    """A prompt, a position or a sampling parameter outside what the loaded model can serve."""


class SimulatorError(TtfamilyError):
    """An op, a format or a shape that the simulated mesh does not carry."""


def first_line(error: BaseException | str) -> str:
    """Return the first line of what another library's error says, cut to one that any terminal can print."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return printable(lines[0][:_QUOTED]) + ("..." if len(lines[0]) > _QUOTED else "")
