"""What the budget says is what ttnn finds: to the byte for weights, to one step of the context for the rest."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import FalconConfig, LlamaConfig

import ttfamily
from ttfamily import HfConfig, builder
from ttfamily.builder import Limits
from ttfamily.core.blocks.kv_cache import CACHE
from ttfamily.core.blocks.rope import ROPE
from ttfamily.core.blocks.transformer import SMALL
from ttfamily.core.config.precision_policy import policy
from ttfamily.core.layout.plan import PAGE_STEP
from ttfamily.errors import PlanError, SimulatorError
from ttfamily.planning.inventory import held_tensors
from ttfamily.planning.layout import laid_out
from ttfamily.plugins.falcon import FALCON
from ttfamily.plugins.llama import LLAMA

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from transformers import PretrainedConfig

    from ttfamily.model import Model

FALCON_SIZES = {"vocab_size": 1000, "hidden_size": 512, "num_hidden_layers": 2, "num_attention_heads": 16}
FORMS: dict[str, PretrainedConfig | dict[str, Any]] = {
    "small": {},
    "biased": {"attention_bias": True, "mlp_bias": True},
    "falcon-7b": FalconConfig(**FALCON_SIZES, architectures=["FalconForCausalLM"]),
    "falcon-40b": FalconConfig(
        **FALCON_SIZES, num_kv_heads=8, new_decoder_architecture=True, architectures=["FalconForCausalLM"]
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


# Heads that go in groups, streams and sums of every scheme, widths of whole tiles that do not fall into equal parts.
LOOSE = 1.25  # of what is needed
SHAPES: dict[str, dict[str, int]] = {
    "8b": {"hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32, "num_key_value_heads": 8},
    "13b": {"hidden_size": 5120, "intermediate_size": 13824, "num_attention_heads": 40, "num_key_value_heads": 40},
    "70b": {"hidden_size": 8192, "intermediate_size": 28672, "num_attention_heads": 64, "num_key_value_heads": 8},
    "one head": {"hidden_size": 3104, "intermediate_size": 14519, "num_attention_heads": 1, "num_key_value_heads": 1},
    "uneven": {"hidden_size": 2688, "intermediate_size": 6063, "num_attention_heads": 28, "num_key_value_heads": 4},
    "narrow mlp": {"hidden_size": 3840, "intermediate_size": 422, "num_attention_heads": 40, "num_key_value_heads": 8},
}
WIDEST = {"one head": 32, "uneven": 256, "narrow mlp": 128}  # head_dim


@pytest.mark.parametrize(
    ("shape", "mesh"),
    [
        ("8b", "n150"), ("8b", "n300"), ("13b", "n150"), ("70b", "n300"), ("70b", "t3k"), ("one head", "n150"),
        ("uneven", "t3k"), ("uneven", "2x4"), ("narrow mlp", "galaxy"),
    ],
)  # fmt: skip
def test_a_prefill_needs_no_more_than_the_blocks_say_and_little_less(shape: str, mesh: str) -> None:
    sizes = {"head_dim": WIDEST.get(shape, 128), **SHAPES[shape]}
    config = LlamaConfig(
        vocab_size=1000, num_hidden_layers=2, max_position_embeddings=8192, architectures=["LlamaForCausalLM"], **sizes
    )
    limits = Limits(max_batch_size=1)
    with laid_out(HfConfig.of(config), LLAMA, mesh=mesh, precision=policy("performance"), limits=limits) as layout:
        said = sum(layout.transformer.budget().running.values())
        for tokens in (2048, 4096):
            assert layout.prefill(tokens).dram_span <= said
        assert said <= LOOSE * layout.prefill(2048).dram_span + SMALL


@settings(max_examples=6)
@given(
    heads=st.sampled_from([4, 16, 64]),
    key_value=st.sampled_from([1, 2, 4]),
    parallel=st.booleans(),
    wide=st.sampled_from([0.25, 1, 4]),
    mesh=st.sampled_from(["n150", "n300", "t3k", "2x4"]),
)
def test_a_falcons_prefill_needs_no_more_than_the_blocks_say(
    heads: int, key_value: int, parallel: bool, wide: float, mesh: str
) -> None:
    config = FalconConfig(
        vocab_size=1000, num_hidden_layers=2, max_position_embeddings=4096, hidden_size=64 * heads,
        num_attention_heads=heads, num_kv_heads=key_value, new_decoder_architecture=parallel, parallel_attn=parallel,
        ffn_hidden_size=int(64 * heads * wide), multi_query=True, architectures=["FalconForCausalLM"],
    )  # fmt: skip
    limits = Limits(max_batch_size=1)
    with laid_out(HfConfig.of(config), FALCON, mesh=mesh, precision=policy("performance"), limits=limits) as layout:
        assert layout.prefill(2048).dram_span <= sum(layout.transformer.budget().running.values())
