"""A whole verification: the simulator's process, then the device's, then the report. No device is opened here."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from ttfamily.core.config.precision_policy import policy
from ttfamily.core.mesh.boards import MeshSpec
from ttfamily.errors import MeshError
from ttfamily.verify.collect import collect
from ttfamily.verify.job import DEVICE, EXPECTED, Job
from ttfamily.verify.watchdog import watch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ttfamily.registry import FamilyRegistry
    from ttfamily.verify.heartbeat import Beat
    from ttfamily.verify.report import Report
    from ttfamily.verify.watchdog import Ended

CHILD = ("-m", "ttfamily.verify.child")
DEVICES = ("auto", "hardware", "simulated")
SOAK_STEPS = 1000


@attrs.frozen(kw_only=True)
class VerifyOptions:
    """What to verify.

    :param mesh: its name.
    :param device: one of :data:`DEVICES`.
    :param precision: a policy's name, or a JSON file.
    :param families: names; all that are installed if there are none.
    :param disabled: plugins that are not imported.
    :param patience: seconds without anything new after which the device hangs.
    :param steps: of the soak.
    """

    mesh: str
    device: str = "auto"
    precision: str = "accuracy"
    families: tuple[str, ...] = ()
    disabled: tuple[str, ...] = ()
    patience: float = 120.0
    steps: int = SOAK_STEPS


def verify(
    asked: VerifyOptions,
    registry: FamilyRegistry,
    *,
    show: Callable[[Beat], None] = lambda _beat: None,
    device_command: Sequence[str] = CHILD,
) -> Report:
    """Verify a device.

    :param registry: the installed families, to refuse a name that is none of them before anything starts.
    :param show: called with what is being done.
    :param device_command: arguments of Python for the device's process: a test's own, to make an op wrong.
    :raises TtfamilyError: if the mesh, the device, the precision or a family is unknown.
    """
    _check(asked, registry)
    scratch = Path(tempfile.mkdtemp(prefix="ttfamily-verify-"))
    try:
        job = Job(
            mesh=asked.mesh,
            device=asked.device,
            precision=_resolved(asked.precision),
            families=asked.families,
            disabled=asked.disabled,
            steps=asked.steps,
            scratch=scratch,
        )
        job.write()
        ended: dict[str, Ended] = {}
        for role, command in ((EXPECTED, CHILD), (DEVICE, device_command)):
            ended[role] = watch(
                [*command, role, str(job.file)],
                heartbeat=job.heartbeat(role),
                log=scratch / f"{role}.log",
                patience=asked.patience,
                show=show,
            )
            if ended[role].how != "finished":
                break
        return collect(job, ended)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _check(asked: VerifyOptions, registry: FamilyRegistry) -> None:
    MeshSpec.parse(asked.mesh, registry.boards)
    policy(asked.precision)
    for name in asked.families:
        registry.named(name)
    if asked.device not in DEVICES:
        fix = "A dry mesh computes nothing that could be compared."
        raise MeshError("device", got=repr(asked.device), expected=f"one of {', '.join(DEVICES)}", fix=fix)


def _resolved(precision: str) -> str:
    """Make a file's path whole: the processes that read it may stand elsewhere."""
    file = Path(precision)
    return str(file.resolve()) if file.is_file() else precision
