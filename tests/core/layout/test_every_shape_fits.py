"""Every shape that the core promises is laid out so that ttnn takes each op of it: dry meshes, no numbers, all checks.

What does not fit a core's L1 must be found by the plan; ttnn itself must never be the one to refuse.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import FalconConfig, LlamaConfig

import ttfamily
from ttfamily.errors import SimulatorError
from ttfamily.testing import strategies
from ttfamily.testing.conformance.subject import or_another_shape

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from ttfamily.core.layout.schemes import Scheme

LONGEST = 1024


@st.composite
def shapes(draw: st.DrawFn, parts: int = 1) -> dict[str, Any]:
    """Any size as likely as any other, all of them large at once included.

    :param parts: of whole tiles, that the hidden size falls into.
    """
    heads = draw(st.integers(1, 64))
    step = math.lcm(32 * parts, heads)
    return {
        "num_attention_heads": heads,
        "num_key_value_heads": draw(st.sampled_from([n for n in range(1, heads + 1) if heads % n == 0])),
        "head_dim": 32 * draw(st.integers(1, 8)),
        "hidden_size": step * draw(st.integers(-(-64 // step), max(-(-64 // step), 4096 // step))),
        "intermediate_size": draw(st.integers(1, 16384)),
        "vocab_size": draw(st.integers(33, 200_000)),
        "attention_bias": draw(st.booleans()),
        "mlp_bias": draw(st.booleans()),
        "tie_word_embeddings": draw(st.booleans()),
    }


# Heads, key/value heads, head_dim, hidden and intermediate size, biases, users, prompt, precision: widths of a prime
# number of tiles go over few cores, or one, whose L1 then fills up.
TIGHT = [
    (31, 1, 256, 3968, 3496, True, 1, 266, "accuracy"),
    (17, 17, 256, 3808, 99, True, 2, 12, "accuracy"),
    (1, 1, 32, 3104, 14519, False, 1, 3, "accuracy"),
    (62, 62, 160, 3968, 281, True, 3, 344, "performance"),
    (1, 1, 32, 4064, 245, False, 32, 8, "accuracy"),
    (13, 13, 256, 2080, 230, True, 9, 351, "accuracy"),
    (53, 1, 64, 3392, 7636, False, 2, 7, "performance"),
    (39, 13, 192, 2496, 167, True, 17, 334, "performance"),
    (4, 1, 224, 2976, 6220, False, 1, 57, "performance"),
    (61, 1, 256, 1952, 99, False, 1, 20, "accuracy"),  # flash decode over two tiles of heads
    (64, 8, 256, 4096, 99, False, 32, 20, "accuracy"),
    (64, 64, 64, 4096, 99, True, 32, 300, "accuracy"),  # more key/value heads than one cache holds
    (128, 8, 64, 4096, 99, False, 32, 20, "accuracy"),  # more query heads than are merged at once
]
MESHES = pytest.mark.parametrize("name", ["n150", "n300", "n300-chip"])


@MESHES
@pytest.mark.parametrize("case", TIGHT, ids=str)
def test_ttnn_takes_every_op_of_an_awkward_width(name: str, case: tuple[Any, ...]) -> None:
    heads, key_value_heads, head_dim, hidden, wide, bias, users, prompt, precision = case
    sizes = {
        "num_attention_heads": heads, "num_key_value_heads": key_value_heads, "head_dim": head_dim,
        "hidden_size": hidden, "intermediate_size": wide, "attention_bias": bias, "mlp_bias": bias, "vocab_size": 99,
    }  # fmt: skip
    run_dry(name, sizes, users, prompt, precision, warm_up=True)


@MESHES
@strategies.examples(75)
@given(
    sizes=shapes(),
    users=st.integers(1, 32),
    prompt=st.integers(1, LONGEST),
    precision=st.sampled_from(["accuracy", "performance"]),
)
def test_ttnn_takes_every_op_of_any_shape(
    name: str, sizes: dict[str, Any], users: int, prompt: int, precision: str
) -> None:
    run_dry(name, sizes, users, prompt, precision)


@st.composite
def falcons(draw: st.DrawFn) -> FalconConfig:
    """Any form: heads fill the hidden size, which is mostly not as many tiles as divide well."""
    heads, grouped = draw(st.integers(1, 80)), draw(st.booleans())
    hidden = heads * draw(st.sampled_from([64, 64, 64, 128]))
    shared = {"num_kv_heads": draw(st.sampled_from([n for n in range(1, heads + 1) if heads % n == 0]))}
    return FalconConfig(
        vocab_size=draw(st.integers(33, 70_000)), hidden_size=hidden, num_hidden_layers=1, num_attention_heads=heads,
        ffn_hidden_size=draw(st.sampled_from([4 * hidden, 1000])), new_decoder_architecture=grouped,
        parallel_attn=grouped or draw(st.booleans()), bias=draw(st.booleans()), max_position_embeddings=LONGEST,
        architectures=["FalconForCausalLM"], **shared if grouped else {"multi_query": True},
    )  # fmt: skip


@pytest.mark.parametrize(("name", "scheme"), [("n150", None), ("n300", "fractured"), ("t3k", None), ("2x4", None)])
@strategies.examples(15)
@given(config=falcons(), users=st.integers(1, 32), prompt=st.integers(1, LONGEST))
def test_ttnn_takes_every_op_of_any_falcon(
    name: str, scheme: Scheme | None, config: FalconConfig, users: int, prompt: int
) -> None:
    with or_another_shape():
        run(config, name, users, prompt, "performance", scheme)


@pytest.mark.parametrize(("name", "scheme", "parts"), [("t3k", "fractured", 8), ("2x4", None, 2), ("4x8", None, 4)])
@strategies.examples(15)
@given(data=st.data(), users=st.integers(1, 32), prompt=st.integers(1, LONGEST))
def test_ttnn_takes_every_op_of_any_shape_on_larger_meshes(
    name: str, scheme: Scheme | None, parts: int, data: st.DataObject, users: int, prompt: int
) -> None:
    with or_another_shape():
        run_dry(name, data.draw(shapes(parts)), users, prompt, "performance", scheme)


def run_dry(
    name: str,
    sizes: dict[str, Any],
    users: int,
    prompt: int,
    precision: str,
    scheme: Scheme | None = None,
    *,
    warm_up: bool = False,
) -> None:
    config = LlamaConfig(num_hidden_layers=1, max_position_embeddings=LONGEST, **sizes)
    config.architectures = ["LlamaForCausalLM"]
    run(config, name, users, prompt, precision, scheme, warm_up=warm_up)


def run(
    config: PretrainedConfig,
    name: str,
    users: int,
    prompt: int,
    precision: str,
    scheme: Scheme | None,
    *,
    warm_up: bool = False,
) -> None:
    """Prefill a prompt and decode a step; both get as far as reading the logits, which a dry mesh does not have.

    :param warm_up: take every other prompt length too.
    """
    options: dict[str, Any] = {"precision": precision, "max_batch_size": users, "scheme": scheme, "warm_up": warm_up}
    with tempfile.TemporaryDirectory() as folder:
        config.save_pretrained(Path(folder))
        with ttfamily.load(folder, mesh=name, device="dry", **options) as model:
            longest = model.plan.max_seq_len
            with pytest.raises(SimulatorError, match="dry mesh"):
                model.prefill(torch.zeros(min(prompt, longest), dtype=torch.int64), users - 1)
            with pytest.raises(SimulatorError, match="dry mesh"):
                model.decode(torch.zeros(users, dtype=torch.int64), torch.full((users,), longest - 1))
