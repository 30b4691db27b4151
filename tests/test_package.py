from __future__ import annotations

import subprocess
import sys

import pytest

import ttfamily

HEAVY = ("torch", "ttnn", "transformers", "numpy", "huggingface_hub", "rich", "pluggy")


def modules_after(code: str) -> set[str]:
    """Return what a fresh Python has imported after ``code``, in its sys.modules."""
    script = f"import sys\ntry:\n    {code}\nfinally:\n    print('\\nMODULES', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    return set(done.stdout.rpartition("MODULES ")[2].split())


@pytest.mark.parametrize(
    "code",
    [
        "import ttfamily",
        "from ttfamily import hookimpl",
        "from ttfamily.cli import main",
        "import ttfamily.doctor",
        "from ttfamily import families; families()",
        "import ttfamily.chat_sandbox",
    ],
)
def test_importing_brings_neither_torch_nor_ttnn(code: str) -> None:
    modules = modules_after(code)
    assert "ttfamily" in modules
    assert not modules & {"torch", "ttnn", "transformers", "numpy"}


@pytest.mark.parametrize("command", [[], ["demo"], ["generate"], ["families"], ["doctor"]])
def test_help_imports_nothing_heavy(command: list[str]) -> None:
    modules = modules_after(f"sys.argv = {['ttfamily', *command, '--help']}; from ttfamily.cli import main; main()")
    assert "typer" in modules
    assert not modules & set(HEAVY)


def test_every_public_name_is_there() -> None:
    assert sorted(ttfamily.__all__) == list(ttfamily.__all__)
    for name in ttfamily.__all__:
        assert getattr(ttfamily, name) is not None
        assert name in dir(ttfamily)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = ttfamily.nonsense


def test_python_m_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "ttfamily", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"ttfamily {ttfamily.__version__}\n"
