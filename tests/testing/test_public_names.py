"""A public name stays what it is, whatever was imported before: no submodule has the name of one."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from importlib import import_module

import pytest

import ttfamily
import ttfamily.testing

PACKAGES = ["ttfamily", *(each.name for each in pkgutil.walk_packages(ttfamily.__path__, "ttfamily.") if each.ispkg)]


@pytest.mark.parametrize("name", PACKAGES)
def test_no_submodule_has_the_name_of_a_public_name(name: str) -> None:
    package = import_module(name)
    submodules = {each.name for each in pkgutil.iter_modules(package.__path__)}
    assert not submodules & set(getattr(package, "__all__", ()))


def test_pcc_is_the_function_as_documented_after_the_kit_was_imported() -> None:
    # In a process of its own: importing a submodule sets its name in the package, once and for good.
    code = (
        "from ttfamily.testing import Conformance, assert_pcc, pcc\n"
        "import torch, ttfamily.testing\n"
        "print(pcc(torch.arange(3.0), torch.arange(3.0)), ttfamily.testing.pcc is pcc)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "1.0 True\n"


def test_every_public_name_of_the_testing_package_is_there() -> None:
    assert sorted(ttfamily.testing.__all__) == ttfamily.testing.__all__
    assert all(callable(getattr(ttfamily.testing, name)) for name in ttfamily.testing.__all__)
