"""The child process that asks the simulator; :mod:`ttfamily.verify.device` is the other. Only they open a mesh."""

from __future__ import annotations

import gc
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ttfamily.core.config.precision_policy import policy
from ttfamily.core.mesh.mesh import open_mesh
from ttfamily.errors import TtfamilyError
from ttfamily.ttnn_log import quiet_ttnn
from ttfamily.verify.device import verify
from ttfamily.verify.expected import ExpectedWriter
from ttfamily.verify.heartbeat import Heartbeat
from ttfamily.verify.job import DEVICE, EXPECTED, Events, Job, said
from ttfamily.verify.subjects import stream, subjects

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ttfamily.core.mesh.mesh import Mesh


def main(arguments: list[str]) -> None:
    """Run one of them: ``expected JOB`` or ``device JOB``."""
    role, file = arguments
    job = Job.read(Path(file))
    quiet_ttnn()
    heartbeat, events = Heartbeat(job.heartbeat(role)), Events(job.events(role))
    with _opened(job, "simulated" if role == EXPECTED else job.device, heartbeat, events) as mesh:
        if role == DEVICE:
            verify(job, mesh, heartbeat, events)
        else:
            expect(job, mesh, heartbeat, events)


def expect(job: Job, mesh: Mesh, heartbeat: Heartbeat, events: Events) -> None:
    """Run every op stream on the simulated mesh, and write what each call makes."""

    def refused(family: str, error: Exception) -> None:
        events.write("not run", subject=family, reason=said(error))

    chosen = list(subjects(job.chosen(job.registry()), refused))
    heartbeat.beat(part="expected values", total=len(chosen))
    for subject in chosen:
        heartbeat.beat(subject=subject.name, doing="")
        writer = ExpectedWriter(job.expected(subject.name))
        try:
            folder = subject.save(job.checkpoint(subject.name))
            for stage in stream(subject, folder, mesh, policy(job.precision), writer):
                heartbeat.beat(doing=stage)
        except TtfamilyError as error:
            events.write("not run", subject=subject.name, reason=said(error))
        else:
            events.write("expected", subject=subject.name, calls=writer.count)
        heartbeat.step()
        gc.collect()  # what a model holds of the mesh


@contextmanager
def _opened(job: Job, device: str, heartbeat: Heartbeat, events: Events) -> Iterator[Mesh]:
    heartbeat.beat(part="opening the mesh", doing="ttnn.open_mesh_device")
    try:
        mesh = open_mesh(job.mesh, device, job.registry().boards)
    except (TtfamilyError, RuntimeError) as error:
        events.write("no mesh", reason=said(error))
        raise
    try:
        yield mesh
    finally:
        heartbeat.beat(part="closing the mesh", subject="", doing="ttnn.close_mesh_device", arguments="")
        mesh.close()


if __name__ == "__main__":
    main(sys.argv[1:])
