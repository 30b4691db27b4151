"""A child process under watch: it ends by itself, dies, or stops moving and is ended."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Literal

import attrs

from ttfamily.verify.heartbeat import read_beat

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ttfamily.verify.heartbeat import Beat

POLL = 0.1  # seconds
STARTING = 120.0  # seconds that a process may take before its first beat: it imports torch and ttnn
LOG_LINES = 20


@attrs.frozen(kw_only=True)
class Ended:
    """How a child ended.

    :param how: ``finished``; ``died``: by a signal or an exit status; ``hung``: it was ended.
    :param status: its exit status; negative for a signal.
    :param last: what it was doing.
    :param log: the end of what it wrote to its output.
    """

    how: Literal["finished", "died", "hung"]
    status: int
    last: Beat | None
    log: str


@attrs.define
class Stillness:
    """How long nothing has moved.

    :param limit: seconds after which that is a hang.
    """

    limit: float
    _number: int = attrs.field(init=False, default=-1)
    _since: float = attrs.field(init=False, default=0.0)

    def too_long(self, number: int, now: float) -> bool:
        """Whether the number of the last beat has been the same for longer than the limit."""
        if number != self._number:
            self._number, self._since = number, now
        return now - self._since > self.limit


def watch(
    arguments: Sequence[str],
    *,
    heartbeat: Path,
    log: Path,
    patience: float,
    starting: float = STARTING,
    show: Callable[[Beat], None] = lambda _beat: None,
) -> Ended:
    """Run ``python arguments...`` and watch its heartbeat.

    :param heartbeat: the file that the child writes its beats to.
    :param log: where its standard output and error go.
    :param patience: seconds without a beat after which it is killed, by its own process id.
    :param starting: the same before its first beat.
    :param show: called with every beat that is seen.
    """
    still = Stillness(limit=starting)
    with log.open("wb") as output:
        # OpenMP's threads sleep while they wait (see the command line), unless the user has decided otherwise.
        environ = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}
        child = subprocess.Popen(  # noqa: S603 -- this package's own processes, with arguments of its own
            [sys.executable, *arguments], stdout=output, stderr=subprocess.STDOUT, env=environ
        )
        hung = False
        try:
            while child.poll() is None:
                beat = read_beat(heartbeat)
                if beat is not None:
                    still.limit = patience
                    show(beat)
                hung = still.too_long(beat.number if beat else 0, time.monotonic())
                if hung:
                    break
                time.sleep(POLL)
        finally:  # a hang, or Ctrl-C here
            if child.poll() is None:
                child.kill()
            child.wait()
    lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:]
    how: Literal["finished", "died", "hung"] = "hung" if hung else "died" if child.returncode else "finished"
    return Ended(how=how, status=child.returncode, last=read_beat(heartbeat), log="\n".join(lines))
