"""The kinds of chips."""

from __future__ import annotations

from typing import Literal

Arch = Literal["wormhole_b0", "blackhole"]  # as ttnn's cluster descriptors name them
