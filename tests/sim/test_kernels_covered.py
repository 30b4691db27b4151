"""No kernel without a test."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from ttfamily.sim.kernels import load

if TYPE_CHECKING:
    from collections.abc import Iterator


def covered() -> Iterator[str]:
    """The ops that a test here claims; that it runs them is checked when the test runs."""
    for path in sorted(Path(__file__).parent.glob("test_kernels_*.py")):
        if path != Path(__file__):
            spec = importlib.util.spec_from_file_location(f"covering_{path.stem}", path)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            for function in vars(module).values():
                for mark in getattr(function, "pytestmark", ()):
                    if mark.name == "kernel":
                        yield from mark.args


def test_every_kernel_has_a_test() -> None:
    missing = set(load()) - set(covered())
    assert not missing, f'write a test with @pytest.mark.kernel("{min(missing)}") in tests/sim/test_kernels_*.py'


def test_no_test_claims_a_kernel_that_is_gone() -> None:
    assert set(covered()) <= set(load())
