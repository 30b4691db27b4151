"""Hypothesis profiles and the simulated meshes.

``ci`` repeats the same few examples, ``--hypothesis-profile thorough`` looks for new ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ttfamily.core.mesh import Mesh

# Deadlines measure the machine, and building a mesh's first program is slow by nature.
settings.register_profile(
    "ci", max_examples=20, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "thorough", max_examples=500, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ci")


@pytest.fixture(scope="session", params=["n150", "n300"])
def mesh(request: pytest.FixtureRequest) -> Iterator[Mesh]:
    """A simulated mesh. pytest groups tests by its name, so a process has one open at a time."""
    from ttfamily.core.mesh import open_mesh

    opened = open_mesh(request.param, "simulated")
    yield opened
    opened.close()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run tests that take no mesh first: one that opens its own finds none open then."""
    items.sort(key=lambda item: "mesh" in getattr(item, "fixturenames", ()))
