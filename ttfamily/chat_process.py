"""The process in which chat templates are rendered, so that a limit of time and memory can hold them.

A template is a program of the checkpoint's author. jinja2's sandbox keeps it from files and modules, but not
from ``'a' * 10**10`` or nested loops, and nothing in this process could stop those: a thread cannot be ended
within one long operation, and memory is limited for whole processes only. A process for each text would cost
its start, about 0.1 s; so one is started with the first chat, kept, and started anew after a limit ended it. It
is a fresh interpreter and no fork: threads, device mappings and gigabytes of weights stay out of it.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import IO, Any, cast

import attrs

SECONDS = 5  # of processor time, so that a busy machine refuses nothing; a template takes milliseconds
MEMORY = 2**30  # bytes of address space
CHARACTERS = 2**24  # of rendered text: the longest contexts have some millions


@attrs.frozen(kw_only=True)
class Rendered:
    """What came of a template: a text, or an error.

    :param text: what it rendered, or None.
    :param error: the class of jinja2's or Python's error; ``time``, ``memory`` or ``length`` for a limit.
    :param message: what the error says.
    """

    text: str | None = None
    error: str = ""
    message: str = ""


class TemplateProcess:
    """One process, started when it is first needed; requests of several threads take turns.

    :param seconds: of processor time for one text.
    :param memory: bytes of address space.
    :param characters: of one text.
    """

    def __init__(self, *, seconds: int = SECONDS, memory: int = MEMORY, characters: int = CHARACTERS) -> None:
        self.seconds = seconds
        self.memory = memory
        self.characters = characters
        self._lock = Lock()
        self._process: subprocess.Popen[str] | None = None
        self._registered = False

    def render(self, template: str, variables: dict[str, Any]) -> Rendered:
        """Render a template.

        :param variables: JSON values by name.
        :raises TypeError: for variables that JSON does not know.
        :raises ValueError: for NaN, infinity and a list or dict that holds itself.
        :raises RecursionError: for variables nested too deep.
        """
        request = json.dumps({"template": template, "variables": variables}, allow_nan=False)
        with self._lock:
            process = self._running()
            try:
                _send(process, request)
                answer = cast("IO[str]", process.stdout).readline()
            except BaseException:  # the answer to an interrupted request is not taken for the next one's
                self.close()
                raise
            if answer.endswith("\n"):
                return Rendered(**json.loads(answer))
            self._process = None
            process.communicate()
        code = process.returncode
        return Rendered(error="time" if code == -signal.SIGXCPU else "memory" if code < 0 else f"exit status {code}")

    def close(self) -> None:
        """End the process, if there is one; the next text starts another."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def _running(self) -> subprocess.Popen[str]:
        if self._process is not None and self._process.poll() is not None:
            self.close()  # something else has ended it
        if self._process is None:
            self._process = _start()
            limits = {"seconds": self.seconds, "memory": self.memory, "characters": self.characters}
            _send(self._process, json.dumps(limits))
            if not self._registered:
                atexit.register(self.close)
                os.register_at_fork(after_in_child=self._forget)
                self._registered = True
        return self._process

    def _forget(self) -> None:
        """After a fork the process is the parent's, and so are its pipes; a lock may be held by no thread at all."""
        self._lock = Lock()
        self._process = None


def _start() -> subprocess.Popen[str]:
    # The interpreter imports what this one does, but nothing from the current folder, and runs no hooks of "site".
    path = os.pathsep.join(str(Path(folder).absolute()) for folder in sys.path)
    return subprocess.Popen(
        [sys.executable, "-S", "-c", "from ttfamily.chat_sandbox import serve; serve()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # an error is an answer
        encoding="ascii",
        cwd="/",
        env={**os.environ, "PYTHONPATH": path},
    )


def _send(process: subprocess.Popen[str], line: str) -> None:
    stdin = cast("IO[str]", process.stdin)
    with suppress(BrokenPipeError):  # no answer comes then
        stdin.write(line + "\n")
        stdin.flush()
