from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest

from ttfamily.core.config.precision_policy import policy
from ttfamily.discovery import families
from ttfamily.verify.check import Checked, OpChecker
from ttfamily.verify.expected import ExpectedReader, ExpectedWriter
from ttfamily.verify.heartbeat import Heartbeat
from ttfamily.verify.subjects import Subject, stream, subjects

if TYPE_CHECKING:
    from types import ModuleType

    from ttfamily.core.mesh.mesh import Mesh


@pytest.fixture(scope="session")
def faults() -> ModuleType:
    """The file beside this one, which is no package's."""
    spec = importlib.util.spec_from_file_location("faults", Path(__file__).parent / "faults.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@attrs.frozen
class Bench:
    """One subject on one mesh: what the simulator expects, and what is found."""

    mesh: Mesh
    subject: Subject
    folder: Path

    def expect(self) -> int:
        writer = ExpectedWriter(self.folder / "values")
        for _ in stream(self.subject, self.checkpoint, self.mesh, policy("accuracy"), writer):
            pass
        return writer.count

    def check(self) -> list[Checked]:
        found: list[Checked] = []
        reader, heartbeat = ExpectedReader(self.folder / "values"), Heartbeat(self.folder / "beat")
        checker = OpChecker(self.mesh, reader, heartbeat, found.append)
        for stage in stream(self.subject, self.checkpoint, self.mesh, policy("accuracy"), checker):
            checker.stage = stage
        checker.finish()
        return found

    @property
    def checkpoint(self) -> Path:
        return self.subject.save(self.folder / "checkpoint")


@pytest.fixture
def bench(tt_mesh: Mesh, tmp_path: Path) -> Bench:
    (subject,) = subjects([families().named("mistral").family])
    subject.config.num_hidden_layers = 1
    subject.config.layer_types = None  # as many as layers
    return Bench(tt_mesh, subject, tmp_path)
