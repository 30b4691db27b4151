"""What Tenstorrent publishes for its own implementation, to hold predictions against: shapes, never names.

From PERF.md of tt_transformers (peers.md has the same figures): batch 1, a prompt of 128 tokens, top speed of
the steps behind it. Its "accuracy" figures for these shapes were measured with BFP8 attention and cache; its
"performance" figures for the 8B shape with BFP8 instead of BFP4 in the last layer's MLP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from ttfamily.core.spec import ModelSpec

PROMPT = 128
# hidden, layers, heads, key/value heads, vocabulary
_SMALL, _LARGE = (4096, 32, 32, 8, 128256), (8192, 80, 64, 8, 128256)


@attrs.frozen(kw_only=True)
class Published:
    """One row of the table.

    :param tokens_per_s: of one user.
    :param ttft_ms: time to first token.
    """

    shape: tuple[int, ...]
    mesh: str
    precision: str
    tokens_per_s: float
    ttft_ms: float


def _row(shape: tuple[int, ...], mesh: str, precision: str, tokens_per_s: float, ttft_ms: float) -> Published:
    return Published(shape=shape, mesh=mesh, precision=precision, tokens_per_s=tokens_per_s, ttft_ms=ttft_ms)


PUBLISHED = (
    _row(_SMALL, "n150", "performance", 28.3, 104),
    _row(_SMALL, "n150", "accuracy", 25.2, 138),
    _row(_SMALL, "n300", "performance", 44.2, 67),
    _row(_SMALL, "n300", "accuracy", 38.8, 79),
    _row(_SMALL, "t3k", "performance", 64.3, 53),
    _row(_SMALL, "t3k", "accuracy", 60.8, 81),
    _row(_LARGE, "t3k", "performance", 16.6, 164),
    _row(_LARGE, "t3k", "accuracy", 16.5, 168),
)


def shape_of(spec: ModelSpec) -> tuple[int, ...]:
    """Return what a published shape is found by."""
    attention = spec.attention
    heads = attention.num_attention_heads, attention.num_key_value_heads
    return spec.hidden_size, spec.num_hidden_layers, *heads, spec.vocab_size


def published(spec: ModelSpec, mesh: str) -> tuple[Published, ...]:
    """Return the rows of a shape on a mesh, none where nothing was published."""
    return tuple(row for row in PUBLISHED if row.shape == shape_of(spec) and row.mesh == mesh)
