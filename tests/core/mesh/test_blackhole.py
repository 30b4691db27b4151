"""A p150: its own mock cluster, and so its own process; the same blocks on another grid, with other banks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ttfamily.core.mesh.mesh import open_mesh
from ttfamily.errors import MeshError

ROOT = Path(__file__).parents[3]
FACTS = """
from ttfamily.core.mesh.mesh import open_mesh
mesh = open_mesh("p150", "dry")
print(mesh.grid, mesh.dram_banks, mesh.l1, mesh.dram_bytes()[1] >> 30)
mesh.close()
"""


# 64 query heads on one chip, more than a group of heads may have there; reading the logits is what a dry mesh refuses.
HEADS = """
import json, pathlib, sys, tempfile, torch, ttfamily
from transformers import LlamaConfig
from ttfamily.errors import SimulatorError
config = LlamaConfig(
    vocab_size=99, hidden_size=2048, intermediate_size=512, num_hidden_layers=1, num_attention_heads=64,
    num_key_value_heads=8, head_dim=64, max_position_embeddings=512, architectures=["LlamaForCausalLM"],
)
with tempfile.TemporaryDirectory() as folder:
    config.save_pretrained(folder)
    with ttfamily.load(folder, mesh="p150", device="dry", max_batch_size=4) as model:
        try:
            model.decode(torch.zeros(4, dtype=torch.int64), torch.full((4,), 100))
        except SimulatorError as error:
            print(model.plan.heads.groups, error)
"""


def ran(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, check=False)


def test_a_p150_opens_with_its_own_cores_banks_and_memory() -> None:
    got = ran("-c", FACTS)
    # 140 Tensix cores less a column for dispatch, 8 banks, 1.5 MB of L1, 32 GB (docs.tenstorrent.com, p150a).
    assert got.stdout.splitlines()[-1:] == ["(13, 10) 8 range(111744, 1572864) 31"], got.stderr


def test_more_heads_than_decode_takes_on_a_p150_go_in_groups() -> None:
    got = ran("-c", HEADS)
    assert got.stdout.splitlines()[-1:][0].startswith("2 ttnn.to_torch: got a tensor of a dry mesh"), got.stderr


@pytest.mark.parametrize(("family", "forms"), [("llama", "TestLlama"), ("falcon", "TestFalcon40B")])
def test_a_family_conforms_on_a_p150(family: str, forms: str) -> None:
    # With this repository's own profile (tests/conftest.py), two examples a test: one chosen, and the simplest.
    got = ran(
        "-m", "pytest", f"tests/families/test_{family}.py", "-q", "-p", "no:cacheprovider", "-k", forms,
        "--tt-mesh=p150", "--hypothesis-seed=0",
    )  # fmt: skip
    assert got.returncode == 0, got.stdout[-3000:]
    assert "[p150]" in got.stdout  # in the line of the worst correlation: it was compared


def test_one_process_has_one_architecture() -> None:
    open_mesh("n150", "dry").close()
    with pytest.raises(MeshError, match=r"one of blackhole chips in a process that has had wormhole_b0 chips.*process"):
        open_mesh("p150", "dry")
