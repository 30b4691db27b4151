"""examples/ttfamily-qwen, a stranger's package: installed, found, loaded, conforming, on public names alone."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import Qwen2Config, Qwen3Config

import ttfamily
import ttfamily.testing
from ttfamily.testing import make_model, save_checkpoint

PACKAGE = Path(__file__).parent.parent / "examples" / "ttfamily-qwen"
SIZES = {
    "vocab_size": 99, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 128,
}  # fmt: skip
LOAD = """
import sys, torch, ttfamily
with ttfamily.load(sys.argv[1], mesh="n300", device="simulated", max_batch_size=1) as model:
    logits = model.prefill(torch.arange(20), 0)
print(logits.isfinite().all().item(), ttfamily.families().for_architecture(sys.argv[2]).name)
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment variables under which the package is installed."""
    target = tmp_path_factory.mktemp("site")
    install = [
        sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
        "--no-build-isolation", "--target", str(target), str(PACKAGE),
    ]  # fmt: skip
    subprocess.run(install, check=True, capture_output=True, timeout=120)
    root = Path(next(iter(ttfamily.__path__))).parent
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(target), str(root)])}


def python(environment: dict[str, str], folder: Path, *arguments: str) -> str:
    ran = subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=folder, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-4000:]
    return ran.stdout


@pytest.mark.parametrize(
    ("config", "family"), [(Qwen2Config(**SIZES), "qwen2"), (Qwen3Config(**SIZES, head_dim=32), "qwen3")]
)
def test_a_model_loads_through_the_installed_package(
    environment: dict[str, str], tmp_path: Path, config: Qwen2Config | Qwen3Config, family: str
) -> None:
    hf = make_model(config)
    folder = save_checkpoint(hf, tmp_path)
    assert python(environment, tmp_path, "-c", LOAD, str(folder), type(hf).__name__) == f"True {family}\n"


def test_it_conforms(environment: dict[str, str], tmp_path: Path, pytestconfig: pytest.Config) -> None:
    profile = pytestconfig.getoption("--hypothesis-profile") or "quick"
    # One mesh: that meshes agree is a promise of the core's, which the built-in families show.
    options = (
        "-q",
        "-p",
        "no:cacheprovider",
        "--tt-mesh=n300",
        f"--hypothesis-profile={profile}",
        "--hypothesis-seed=0",
    )
    report = python(environment, tmp_path, "-m", "pytest", str(PACKAGE), *options)
    assert re.search(r"TestQwen2 .* worst PCC 0.999", report)
    assert re.search(r"TestQwen3 .* worst PCC 0.999", report)


def test_it_uses_public_names_only() -> None:
    public = {
        "ttfamily": set(ttfamily.__all__),
        "ttfamily.plugins": {"llama", "mistral", "falcon"},
        "ttfamily.testing": set(ttfamily.testing.__all__),
    }
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                assert not [name for name in node.names if name.name.partition(".")[0] in ("ttfamily", "ttnn", "torch")]
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in ("ttfamily", "ttnn"):
                assert {name.name for name in node.names} <= public[node.module]


def test_the_family_files_are_as_short_as_promised() -> None:
    plugins = Path(ttfamily.__file__).parent / "plugins"
    for file, longest in (
        (plugins / "mistral" / "__init__.py", 40),
        (plugins / "falcon" / "__init__.py", 150),
        (PACKAGE / "src" / "ttfamily_qwen" / "__init__.py", 120),
    ):
        lines = file.read_text().splitlines()
        assert len(lines) <= longest, file
        assert not any("ttnn" in line for line in lines), file
