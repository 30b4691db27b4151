"""Blackhole cards: each its own mock cluster, and so its own process; the same blocks, other grids and banks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ttfamily.core.mesh.mesh import open_mesh
from ttfamily.errors import MeshError

ROOT = Path(__file__).parents[3]
FACTS = """
import sys
from ttfamily.core.mesh.mesh import open_mesh
mesh = open_mesh(sys.argv[1], "dry")
print(mesh.shape, mesh.grid, mesh.dram_banks, mesh.l1, mesh.dram_bytes()[1] >> 30)
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


# Tensix cores less a column for dispatch, DRAM banks, 1.5 MB of L1, DRAM a chip (docs.tenstorrent.com: p100a 120 cores
# and 28 GB, p150a 140 and 32 GB, p300 two chips of 120 cores and 32 GB).
CARDS = {
    "p100": "(1, 1) (11, 10) 7 range(111744, 1572864) 27",
    "p150": "(1, 1) (13, 10) 8 range(111744, 1572864) 31",
    "p300": "(1, 2) (11, 10) 8 range(111744, 1572864) 31",
}


@pytest.mark.parametrize("card", CARDS)
def test_a_card_opens_with_its_own_cores_banks_and_memory(card: str) -> None:
    got = ran("-c", FACTS, card)
    assert got.stdout.splitlines()[-1:] == [CARDS[card]], got.stderr


def test_more_heads_than_decode_takes_on_a_p150_go_in_groups() -> None:
    got = ran("-c", HEADS)
    assert got.stdout.splitlines()[-1:][0].startswith("2 ttnn.to_torch: got a tensor of a dry mesh"), got.stderr


@pytest.mark.parametrize(
    ("card", "family", "forms"), [("p150", "falcon", "TestFalcon40B"), ("p300", "llama", "TestLlama")]
)
def test_a_family_conforms_on_a_card(card: str, family: str, forms: str) -> None:
    # With this repository's own profile (tests/conftest.py), two examples a test: one chosen, and the simplest.
    got = ran(
        "-m", "pytest", f"tests/families/test_{family}.py", "-q", "-p", "no:cacheprovider", "-k", forms,
        f"--tt-mesh={card}", "--hypothesis-seed=0",
    )  # fmt: skip
    assert got.returncode == 0, got.stdout[-3000:]
    assert f"[{card}]" in got.stdout  # in the line of the worst correlation: it was compared


P100 = """
import tempfile
from transformers import LlamaConfig
from ttfamily.testing.conformance.logits import MODEL_PCC, compare, expect, run
from ttfamily.testing.models import loaded, make_model
from ttfamily.testing.strategies import Batch
sizes = {"vocab_size": 203, "hidden_size": 512, "intermediate_size": 700, "num_attention_heads": 8}
hf, batch = make_model(LlamaConfig(**sizes, num_key_value_heads=2, num_hidden_layers=2)), Batch(tokens=(31, 0, 90))
with loaded(hf, "p100", max_batch_size=3, max_seq_len=128) as model:
    compare(run(model, batch, 0, 4), expect(hf, batch, 0, 4), MODEL_PCC)
    print(model.mesh.grid, model.mesh.dram_banks)
"""


def test_a_model_runs_on_the_seven_banks_of_a_p100() -> None:
    got = ran("-c", P100)
    assert got.stdout.splitlines()[-1:] == ["(11, 10) 7"], got.stderr


def test_one_process_has_one_architecture() -> None:
    open_mesh("n150", "dry").close()
    with pytest.raises(MeshError, match=r"one of p150 chips in a process that has had wormhole chips.*process"):
        open_mesh("p150", "dry")
