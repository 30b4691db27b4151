"""What one pass through the layers needs beside the activations: a decode step, or one chunk of a prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    import ttnn

    from ttfamily.core.blocks.rope import Rope, Rotation

# B users, S tokens, P pages a user; a page is a block of the cache, plan.block_size tokens


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

    @classmethod
    def at(cls, rope: Rope, positions: ttnn.Tensor, rope_positions: ttnn.Tensor, page_table: ttnn.Tensor) -> DecodeStep:
        """Make the step of these positions; device ops only, so a trace holds it.

        :param rope_positions: ``[1, B]`` uint32, the positions with 0 for an empty slot.
        """
        return cls(positions=positions, page_table=page_table, rotation=rope.decode(rope_positions))


@attrs.frozen(kw_only=True)
class PrefillChunk:
    """Up to one chunk of one user's prompt.

    :param start: the position of its first token, a multiple of 256.
    :param start_index: ``[1]`` int32, the same on the device: one program serves every start.
    :param length: S, padded.
    :param fill_pages: ``[1, pages of S]`` int32, the blocks that its keys and values go to; -1 after that of the
        last token.
    :param read_pages: ``[1, pages of the longest padded prompt]`` int32, the user's blocks up to the chunk's last
        token, then the spare block.
    :param rotation: of the chunk's positions.
    """

    start: int
    length: int
    start_index: ttnn.Tensor
    fill_pages: ttnn.Tensor
    read_pages: ttnn.Tensor
    rotation: Rotation
