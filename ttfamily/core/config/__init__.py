"""What a model is: its config read key by key, the spec and the precision policy that come of it."""

from __future__ import annotations
