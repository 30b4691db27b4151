"""What Tenstorrent publishes for its own implementation, to hold predictions against: shapes, never names.

From PERF.md of tt_transformers: batch 1, a prompt of 128 tokens, top speed of
the steps after it. Its policies have the names of ours and are not the same: for these shapes attention and
cache are BFP8 in both, for the large one the MLP is BFP4 in both, and in "performance" the small one's last
layer has BFP8 where the others have BFP4. What a figure was measured with stands beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from ttfamily.core.config.spec import ModelSpec

PROMPT = 128
# hidden, layers, heads, key/value heads, vocabulary
_SMALL, _LARGE = (4096, 32, 32, 8, 128256), (8192, 80, 64, 8, 128256)


@attrs.frozen(kw_only=True)
class Published:
    """One row of the table.

    :param gate_up: format of the MLP's first projections; all else is BFP8.
    :param tokens_per_s: of one user.
    :param ttft_ms: time to first token.
    """

    shape: tuple[int, ...]
    mesh: str
    precision: str
    gate_up: str
    tokens_per_s: float
    ttft_ms: float


def _row(shape: tuple[int, ...], mesh: str, precision: str, tokens_per_s: float, ttft_ms: float) -> Published:
    return Published(
        shape=shape,
        mesh=mesh,
        precision=precision,
        gate_up="bfp8" if precision == "accuracy" and shape == _SMALL else "bfp4",
        tokens_per_s=tokens_per_s,
        ttft_ms=ttft_ms,
    )


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
