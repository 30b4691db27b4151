"""Where a model runs: boards, open meshes, and tensors put on them."""

from __future__ import annotations
