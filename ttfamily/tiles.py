"""Tiles: what the chips compute on, 32 x 32 elements; their bytes in each format, and the arithmetic of whole ones."""

from __future__ import annotations

TILE = 32
TILE_ELEMENTS = TILE * TILE
# Bytes of a tile. Block formats: 16 elements share an exponent of one byte.
TILE_BYTES: dict[str, int] = {"fp32": 4096, "bf16": 2048, "bfp8": 1088, "bfp4": 576}
BF16_TILE_BYTES, FP32_TILE_BYTES = TILE_BYTES["bf16"], TILE_BYTES["fp32"]
BF16_BYTES = 2  # of one element


def tiles(width: int) -> int:
    """How many tiles hold ``width`` elements."""
    return -(-width // TILE)


def round_up(n: int, multiple: int) -> int:
    """The smallest multiple of ``multiple`` that is at least ``n``."""
    return -(-n // multiple) * multiple


def largest_divisor(n: int, at_most: int) -> int:
    """The largest divisor of ``n`` that is not above ``at_most``."""
    return max(d for d in range(1, min(n, at_most) + 1) if n % d == 0)
