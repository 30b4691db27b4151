"""The angles of rotary position embeddings, as transformers 5.23 computes them, on the host in float32."""

# P positions, R rotary_dim, H = R / 2 frequencies

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from ttfamily.core.config.spec import DynamicScaling, LinearScaling, Llama3Scaling

if TYPE_CHECKING:
    from torch import Tensor

    from ttfamily.core.config.spec import RopeSpec


def depends_on_length(rope: RopeSpec) -> bool:
    """Whether a position is rotated differently in a longer sequence.

    Where it does, keys in the cache keep the angles they were stored with, so n decode steps are
    not the same as a prompt of n tokens; transformers behaves the same way.
    """
    return isinstance(rope.scaling, DynamicScaling)


def inverse_frequencies(rope: RopeSpec, seq_len: int | None = None) -> Tensor:
    """Return the angle per token of every pair of rotated dimensions.

    :param seq_len: tokens so far, the current ones included; only dynamic scaling reads it, and
        only beyond the trained length. None stands for a sequence within that length.
    :returns: [rotary_dim / 2] float32, in radians per token.
    """
    if isinstance(rope.scaling, DynamicScaling) and seq_len is not None:
        return _dynamic(rope, rope.scaling, torch.tensor([seq_len]))[0]
    plain = _plain(rope)
    if isinstance(rope.scaling, LinearScaling):
        return plain / rope.scaling.factor
    if isinstance(rope.scaling, Llama3Scaling):
        return _by_wavelength(plain, rope.scaling)
    return plain


def rope_table(rope: RopeSpec, max_seq_len: int) -> tuple[Tensor, Tensor]:
    """Return cosine and sine for decode: row p is what a step at position p uses.

    With dynamic scaling that step sees a sequence of p + 1 tokens. transformers takes the longest
    sequence of the batch instead; here a user's tokens do not depend on the neighbours.

    :returns: (cos, sin), each [max_seq_len, rotary_dim / 2] float32.
    """
    positions = torch.arange(max_seq_len)  # [P]
    if isinstance(rope.scaling, DynamicScaling):
        return _cos_sin(positions, _dynamic(rope, rope.scaling, positions + 1))  # [P, H]
    return _cos_sin(positions, inverse_frequencies(rope))


def prompt_table(rope: RopeSpec, seq_len: int) -> tuple[Tensor, Tensor]:
    """Return cosine and sine for the prefill of a prompt of ``seq_len`` tokens.

    With dynamic scaling every row has the frequencies of the whole prompt's length.

    :returns: (cos, sin), each [seq_len, rotary_dim / 2] float32.
    """
    return _cos_sin(torch.arange(seq_len), inverse_frequencies(rope, seq_len))


def _cos_sin(positions: Tensor, frequencies: Tensor) -> tuple[Tensor, Tensor]:
    angles = positions[:, None].float() * frequencies  # [P, 1] * [H] or [P, H] -> [P, H]
    return angles.cos(), angles.sin()


def _exponents(rope: RopeSpec) -> Tensor:
    return torch.arange(0, rope.rotary_dim, 2, dtype=torch.float32) / rope.rotary_dim  # [H]


def _plain(rope: RopeSpec) -> Tensor:
    """Su et al. 2021, section 3.2.2."""
    return 1.0 / rope.theta ** _exponents(rope)  # [H]


def _dynamic(rope: RopeSpec, scaling: DynamicScaling, lengths: Tensor) -> Tensor:
    """Return [P, H]: per sequence length, the frequencies of a base that grows with it."""
    trained = scaling.original_max_position_embeddings
    stretch = scaling.factor * lengths.float() / trained - (scaling.factor - 1)  # [P]
    base = rope.theta * stretch ** (rope.rotary_dim / (rope.rotary_dim - 2))
    grown = 1.0 / base[:, None] ** _exponents(rope)  # [P, H]
    # Short sequences take the plain frequencies as they are, not a base that rounding moved.
    return torch.where(lengths[:, None] > trained, grown, _plain(rope))


def _by_wavelength(plain: Tensor, scaling: Llama3Scaling) -> Tensor:
    """Llama 3.1: between the two wavelengths the divided and the kept frequency are blended."""
    waves = scaling.original_max_position_embeddings / (2 * math.pi / plain)  # [H] in the trained length
    kept = (waves - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    kept = kept.clamp(0.0, 1.0)  # 0 divides, 1 keeps
    return (1 - kept) * plain / scaling.factor + kept * plain
