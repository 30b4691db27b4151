"""What the budget says is what ttnn finds: to the byte for weights, to one step of the context for the rest."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import torch
from transformers import FalconConfig

import ttfamily
from ttfamily import builder
from ttfamily.core.blocks.kv_cache import CACHE
from ttfamily.core.blocks.rope import ROPE
from ttfamily.core.layout.plan import PAGE_STEP
from ttfamily.errors import PlanError, SimulatorError
from ttfamily.planning.inventory import held_tensors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from transformers import PretrainedConfig

    from ttfamily.model import Model

FALCON = {"vocab_size": 1000, "hidden_size": 512, "num_hidden_layers": 2, "num_attention_heads": 16}
FORMS: dict[str, PretrainedConfig | dict[str, Any]] = {
    "small": {},
    "biased": {"attention_bias": True, "mlp_bias": True},
    "falcon-7b": FalconConfig(**FALCON, architectures=["FalconForCausalLM"]),
    "falcon-40b": FalconConfig(
        **FALCON, num_kv_heads=8, new_decoder_architecture=True, architectures=["FalconForCausalLM"]
    ),
}


@pytest.mark.parametrize("mesh", ["n150", "n300", "t3k", "2x4"])
@pytest.mark.parametrize("form", FORMS)
def test_the_budget_of_what_is_loaded_is_the_allocators(mesh: str, form: str, folder: Callable[..., Path]) -> None:
    config = FORMS[form]
    made = folder("small", **config) if isinstance(config, dict) else folder(config)
    with ttfamily.load(made, mesh=mesh, device="dry", max_batch_size=4, max_seq_len=512) as model:
        by_slot: Counter[str] = Counter()
        for each in held_tensors(model.transformer, model.mesh.dram_banks):
            by_slot[each.slot] += each.tensor.held
        said = model.transformer.budget()
        assert {slot: said.context[slot] for slot in (CACHE, ROPE)} == {s: by_slot.pop(s) for s in (CACHE, ROPE)}
        assert said.weights == by_slot


@pytest.mark.parametrize(
    ("config", "mesh", "users", "precision"),
    [
        ("small", "n150", 4, "accuracy"),
        ("small", "n300", 32, "performance"),
        ("8b", "n150", 1, "performance"),
        ("8b", "n300", 16, "accuracy"),
        ("small", "t3k", 32, "performance"),
        ("small", "2x4", 32, "performance"),
        ("small", "t3k/dp2", 64, "performance"),
    ],
)
def test_the_longest_context_runs_and_a_step_more_does_not_fit(
    config: str,
    mesh: str,
    users: int,
    precision: str,
    folder: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = folder(config)
    options: dict[str, Any] = {"mesh": mesh, "device": "dry", "max_batch_size": users, "precision": precision}
    with ttfamily.load(made, **options) as model:
        longest = model.plan.max_seq_len
        assert longest < model.spec.longest_context
        run(model)
    with pytest.raises(PlanError, match=f"expected 1 to {longest}, what fits on {mesh} beside the weights"):
        ttfamily.load(made, **options, max_seq_len=longest + 1)
    monkeypatch.setattr(builder, "longest_context", lambda *_: longest + PAGE_STEP)
    with pytest.raises(RuntimeError, match="Out of Memory"), ttfamily.load(made, **options) as model:
        run(model)


def run(model: Model) -> None:
    """What takes the most memory: the logits of a decode trace are kept, and two of the longest chunks prefilled."""
    kept = model.runner.run_decode()
    tokens = torch.zeros(2 * model.plan.prefill_lengths[-1], dtype=torch.int64)
    with pytest.raises(SimulatorError, match="dry mesh"):  # reading the logits, at the very end
        model.prefill(tokens, 0)
    del kept


def test_a_model_that_does_not_fit_is_refused_with_what_would_help(folder: Callable[..., Path]) -> None:
    with pytest.raises(PlanError, match=r"got 22\.1 GiB of weights for each chip of 11\.9 GiB; .*Use a mesh with"):
        ttfamily.load(folder("8b", num_hidden_layers=80), mesh="n150", device="dry")
