"""The kinds of chips, and of the clusters that stand in for boards on a machine without them."""

from __future__ import annotations

from typing import Literal

Arch = Literal["wormhole_b0", "blackhole"]  # as ttnn's cluster descriptors name them
Cluster = Literal["wormhole", "p100", "p150", "p300"]  # any Wormhole board is a part of one cluster
