"""The parts of the graph in plain ttnn, from the embedding to the head."""

from __future__ import annotations
