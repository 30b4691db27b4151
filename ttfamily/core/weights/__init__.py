"""Where weights come from: checkpoints, and the rules of a family."""

from __future__ import annotations
