"""Which test covers which op's kernel: ``@pytest.mark.kernel("ttnn.add")`` says that a test covers an op.

A test that says so is held to it: it fails if it did not run the op's kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

    from ttfamily.core.mesh.mesh import Mesh
    from ttfamily.testing.operands import Operands


@pytest.fixture(scope="session")
def bench(mesh: Mesh) -> Operands:
    """Operands for the open simulated mesh."""
    from ttfamily.testing.operands import Operands

    return Operands(mesh)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "kernel(*ops): the simulator kernels that the test covers, and must run")


class Noting(dict[str, Any]):
    """A table of rows that notes which are looked up."""

    def __init__(self, table: dict[str, Any]) -> None:
        super().__init__(table)
        self.used: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        self.used.add(key)
        return super().get(key, default)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Fail a test that claims a kernel and does not run it."""
    if "bench" in getattr(item, "funcargs", {}):
        item.funcargs["bench"].reseed(0)
    claimed = {name.removeprefix("ttnn.") for mark in item.iter_markers("kernel") for name in mark.args}
    if not claimed:
        return (yield)
    interpreter = item.funcargs["bench"].interpreter
    table = interpreter._rows
    interpreter._rows = noting = Noting(table)
    try:
        result = yield
    finally:
        interpreter._rows = table
    if claimed - noting.used:
        pytest.fail(f"claims to cover {sorted(claimed - noting.used)}, which it never ran")
    return result
