"""Hypothesis strategies: configs, prompts, batches and page tables, over the ranges that the core promises.

Sizes are mostly small, so that a test is quick, and now and then as large as they may be.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import attrs
import torch
from hypothesis import Phase, settings
from hypothesis import strategies as st
from transformers import LlamaConfig

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy

STEP = 32
MOST_WEIGHTS = 2**25  # elements of one layer: all sizes at their limit at once would take gigabytes
SEEDS = st.integers(0, 2**31 - 1)
PROFILE_EXAMPLES = 20  # what a profile for every day has


def examples(count: int) -> settings:
    """Settings of a test whose examples take seconds: ``count`` where the profile has 20, and in proportion.

    A failing example is reported as it was drawn: shrinking it would take minutes, and most are small as they are.
    """
    share = max(1, settings().max_examples * count // PROFILE_EXAMPLES)
    return settings(max_examples=share, phases=(Phase.explicit, Phase.reuse, Phase.generate))


def mostly_small(least: int, common: int, most: int) -> SearchStrategy[int]:
    """Integers from ``least`` to ``most``, three in four of them up to ``common``."""
    most = max(least, most)
    small = st.integers(least, max(least, min(common, most)))
    return st.one_of(small, small, small, st.integers(least, most))


def multiples(least: int, common: int, most: int) -> SearchStrategy[int]:
    """Multiples of 32 in the same way; the bounds are multiples of 32 or are rounded down."""
    return mostly_small(least // STEP, common // STEP, most // STEP).map(lambda n: n * STEP)


@st.composite
def attentions(draw: DrawFn, *, most_weights: int) -> dict[str, int]:
    """1 to 64 heads, 1 to 32 key/value heads that divide them, head_dim 32 to 256, hidden size 64 to 4096.

    More key/value heads than 32 on one chip is what the plan refuses.
    The heads divide the hidden size, since transformers' LlamaConfig refuses any other, even with head_dim given.
    """
    heads = draw(mostly_small(1, 12, 64))
    key_value_heads = draw(st.sampled_from([n for n in range(1, min(heads, 32) + 1) if heads % n == 0]))
    step = math.lcm(STEP, heads)
    hidden = step * draw(mostly_small(-(-64 // step), 512 // step, 4096 // step))
    widest = most_weights // (2 * (heads + key_value_heads) * hidden)  # two projections a head, two a key/value head
    return {
        "num_attention_heads": heads,
        "num_key_value_heads": key_value_heads,
        "hidden_size": hidden,
        "head_dim": draw(multiples(32, 128, min(256, widest))),
    }


@st.composite
def ropes(draw: DrawFn, *, trained: int) -> dict[str, Any]:
    """``rope_parameters`` of every type that the core knows.

    :param trained: the length behind which llama3 scaling begins.
    """
    kind = draw(st.sampled_from(["default", "linear", "dynamic", "llama3"]))
    rope: dict[str, Any] = {"rope_type": kind, "rope_theta": draw(st.sampled_from([10000.0, 500000.0]))}
    if kind != "default":
        rope["factor"] = draw(st.sampled_from([1.5, 2.0, 8.0]))
    if kind == "llama3":
        rope |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": trained}
    return rope


@st.composite
def llama_configs(
    draw: DrawFn,
    *,
    layers: int = 1,
    max_position_embeddings: int = 1024,
    dynamic_from: SearchStrategy[int] | None = None,
    most_weights: int = MOST_WEIGHTS,
) -> LlamaConfig:
    """Draw the config of any Llama that the core promises to run.

    An intermediate size and a vocabulary of any width, the vocabulary never a multiple of 32; biases;
    a tied head; every rope type.

    :param dynamic_from: the trained length of a model with dynamic scaling, which is then its
        ``max_position_embeddings``; by default 32 to 256 tokens, so that prompts go beyond it.
    :param most_weights: elements in one layer; limits which sizes are large together.
    """
    sizes = draw(attentions(most_weights=most_weights))
    rope = draw(ropes(trained=64))
    trained = multiples(32, 256, 256) if dynamic_from is None else dynamic_from
    return LlamaConfig(
        vocab_size=draw(mostly_small(33, 600, 5000).filter(lambda n: n % STEP)),
        intermediate_size=draw(mostly_small(33, 1024, min(11008, most_weights // (3 * sizes["hidden_size"])))),
        num_hidden_layers=layers,
        **sizes,
        max_position_embeddings=draw(trained) if rope["rope_type"] == "dynamic" else max_position_embeddings,
        rope_parameters=rope,
        attention_bias=draw(st.booleans()),
        mlp_bias=draw(st.booleans()),
        tie_word_embeddings=draw(st.booleans()),
        hidden_act=draw(st.sampled_from(["silu", "silu", "silu", "gelu", "gelu_pytorch_tanh", "relu"])),
        rms_norm_eps=draw(st.sampled_from([1e-5, 1e-6])),
    )


def lengths(longest: int = 512) -> SearchStrategy[int]:
    """Lengths of prompts in tokens, 1 to ``longest``, few of them multiples of 32."""
    return mostly_small(1, min(100, longest), longest)


@st.composite
def prompts(draw: DrawFn, *, vocab_size: int, longest: int = 512) -> torch.Tensor:
    """Token ids, ``[n]`` int64."""
    return random_tokens(vocab_size, draw(lengths(longest)), draw(SEEDS))


def random_tokens(vocab_size: int, count: int, seed: int) -> torch.Tensor:
    """``[count]`` int64 token ids, the same for the same seed."""
    return torch.randint(0, vocab_size, (count,), generator=torch.Generator().manual_seed(seed))


@attrs.frozen(kw_only=True)
class Batch:
    """Slots, and how many tokens each holds.

    :param tokens: one entry for each slot; 0 for an empty one.
    """

    tokens: tuple[int, ...]

    @property
    def slots(self) -> list[int]:
        """The slots that hold something."""
        return [slot for slot, count in enumerate(self.tokens) if count]


@st.composite
def batches(draw: DrawFn, *, users: int = 32, longest: int = 512, different: int = 3) -> Batch:
    """1 to ``users`` slots, some of them empty but not all, each with its own length.

    :param different: the most distinct lengths, since each padded length compiles programs of its own.
    """
    size = draw(mostly_small(1, 6, users))
    counts = draw(st.lists(lengths(longest), min_size=1, max_size=different))
    tokens = draw(st.lists(st.sampled_from([0, *counts, *counts]), min_size=size, max_size=size))
    first = draw(st.integers(0, size - 1))
    tokens[first] = tokens[first] or counts[0]
    return Batch(tokens=tuple(tokens))


def page_table(batch: Batch, *, pages: int, blocks: int, seed: int, more: int = 1) -> torch.Tensor:
    """Give a batch blocks in random order, for what it holds and ``more`` tokens each.

    :param blocks: how many blocks there are; block 0 is nobody's.
    :returns: ``[slots, pages]`` int32, -1 behind a slot's last block.
    """
    shuffled = (1 + torch.randperm(blocks - 1, generator=torch.Generator().manual_seed(seed))).tolist()
    table = torch.full((len(batch.tokens), pages), -1, dtype=torch.int32)
    for slot in batch.slots:
        owned = -(-(batch.tokens[slot] + more) // STEP)
        table[slot, :owned] = torch.tensor([shuffled.pop() for _ in range(owned)], dtype=torch.int32)
    return table
