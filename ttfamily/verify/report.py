"""The report: what is as planned on a device, what is not, what was not run, and how long things take."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

import attrs

from ttfamily.planning.measured import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Status = Literal["as planned", "not as planned", "not run", "not timed (simulated)", "timed"]


@attrs.frozen(kw_only=True)
class OpRow:
    """One op, over all its calls.

    :param subjects: the small models whose streams have it.
    :param calls: that were compared.
    :param wrong: how many of them were off by more than their bound.
    :param together: the largest error of all elements of an output, in units of its format; None if not finite.
    :param worst: the largest error of one element.
    :param bound: of the call that used up most of its own, together and worst.
    :param detail: the first wrong call: where, on what, and how far off.
    """

    op: str
    subjects: tuple[str, ...]
    calls: int
    wrong: int
    together: float | None
    worst: float | None
    bound: tuple[float, float]
    detail: str

    @property
    def right(self) -> bool:
        """Whether every call was within its bound."""
        return self.wrong == 0


@attrs.frozen(kw_only=True)
class Check:
    """One thing that must hold of one model."""

    subject: str
    name: str
    right: bool
    detail: str


@attrs.frozen(kw_only=True)
class Problem:
    """Something that kept a part from being run to its end.

    :param kind: ``hang``, ``crash``, ``failure``, ``stream differs``, ``not corrected`` or ``not run``.
    :param where: what was being done.
    :param what: what happened.
    :param todo: what the reader can do.
    """

    kind: str
    where: str
    what: str
    todo: str = ""

    @property
    def fatal(self) -> bool:
        """Whether the device is to blame: what the plan rules out, or what could only not be corrected, is not."""
        return self.kind not in ("not run", "not corrected")


@attrs.frozen(kw_only=True)
class OpTime:
    """Seconds of one op on tensors of one format and shape; None where times mean nothing."""

    op: str
    arguments: str
    stage: str
    median: float | None
    p90: float | None
    traced: float | None


@attrs.frozen(kw_only=True)
class Constant:
    """A constant of a prediction.

    :param measured: None if it was not measured.
    :param planned: None if no source gives it.
    """

    name: str
    unit: str
    how: str
    measured: float | None
    planned: float | None


@attrs.frozen(kw_only=True)
class Report:
    """Everything that was found.

    :param environment: the mesh and the machine; None if the mesh never opened.
    :param asked: mesh, device, precision and families.
    :param compared: subjects whose op streams were compared.
    :param unfinished: parts of the work that did not come to their end.
    :param timings: the workloads behind the constants: name, two sizes, seconds of each.
    """

    asked: Mapping[str, Any]
    environment: Mapping[str, Any] | None
    compared: tuple[str, ...]
    ops: tuple[OpRow, ...]
    invariants: tuple[Check, ...]
    soak: tuple[Check, ...]
    op_times: tuple[OpTime, ...]
    constants: tuple[Constant, ...]
    timings: tuple[Mapping[str, Any], ...]
    problems: tuple[Problem, ...]
    unfinished: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether everything was run and is as planned."""
        checks: tuple[OpRow | Check, ...] = (*self.ops, *self.invariants, *self.soak)
        fatal = any(problem.fatal for problem in self.problems)
        return not self.unfinished and bool(self.compared) and not fatal and all(check.right for check in checks)

    @property
    def summary(self) -> dict[str, Status]:
        """One word for each part."""
        return {
            "ops against the simulator": self._status("ops of", self.ops),
            "invariants": self._status("invariants of", self.invariants),
            "soak": self._status("soak of", self.soak),
            "timings": self._timed(),
        }

    def _status(self, part: str, checks: Sequence[OpRow | Check]) -> Status:
        if not checks:
            return "not run"
        ended = not any(name.startswith(part) for name in self.unfinished)
        return "as planned" if ended and all(check.right for check in checks) else "not as planned"

    def _timed(self) -> Status:
        if not self.constants:
            return "not run"
        measured = any(constant.measured is not None for constant in self.constants)
        return "timed" if measured else "not timed (simulated)"

    def to_json(self) -> str:
        """Return everything; seconds and bytes are the units, errors are in units of the last place."""
        values = {"schema": SCHEMA, "passed": self.passed, "summary": self.summary, **attrs.asdict(self)}
        return json.dumps(values, indent=2)
