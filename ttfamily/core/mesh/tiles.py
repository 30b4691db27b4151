"""Tiles: what the chips compute on, 32 x 32 elements, and the arithmetic of whole ones."""

from __future__ import annotations

TILE = 32


def tiles(width: int) -> int:
    """How many tiles hold ``width`` elements."""
    return -(-width // TILE)


def round_up(n: int, multiple: int) -> int:
    """The smallest multiple of ``multiple`` that is at least ``n``."""
    return -(-n // multiple) * multiple


def largest_divisor(n: int, at_most: int) -> int:
    """The largest divisor of ``n`` that is not above ``at_most``."""
    return max(d for d in range(1, min(n, at_most) + 1) if n % d == 0)
