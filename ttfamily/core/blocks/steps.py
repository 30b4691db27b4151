"""What one pass through the layers needs beside the activations: a decode step, or one chunk of a prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    import ttnn

    from ttfamily.core.blocks.rope import Rotation

# B users, S tokens, P pages a user


@attrs.frozen(kw_only=True)
class DecodeStep:
    """One token for every user, each at its own position.

    :param positions: ``[B]`` int32; an empty slot is at -1.
    :param page_table: ``[B, P]`` int32; the spare block where a user owns none.
    :param rotation: of every user's position.
    """

    positions: ttnn.Tensor
    page_table: ttnn.Tensor
    rotation: Rotation


@attrs.frozen(kw_only=True)
class PrefillChunk:
    """Up to one chunk of one user's prompt.

    :param start: the position of its first token, a multiple of the longest prefill length.
    :param length: S, padded.
    :param fill_pages: ``[1, S / 32]`` int32, where its keys and values go; -1 behind the last owned page.
    :param read_pages: ``[1, (start + S) / 32]`` int32, the user's pages up to the chunk's end; the spare
        block behind the last owned one.
    :param rotation: of the chunk's positions.
    """

    start: int
    length: int
    fill_pages: ttnn.Tensor
    read_pages: ttnn.Tensor
    rotation: Rotation
