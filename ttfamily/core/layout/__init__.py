"""How a model lies on a mesh: heads, schemes, memory and program configs, the budget."""

from __future__ import annotations
