"""Qwen2 and Qwen3 conform, with layers that slide and layers that do not."""

from __future__ import annotations

from hypothesis import strategies as st
from ttfamily_qwen import QWEN2, QWEN3

from ttfamily.testing import Conformance

WINDOWS = {
    "use_sliding_window": st.booleans(),
    "sliding_window": st.integers(2, 40) | st.integers(2, 600),
    "max_window_layers": st.integers(0, 2),
}


class TestQwen2(Conformance):
    family = QWEN2
    keys = WINDOWS


class TestQwen3(Conformance):
    family = QWEN3
    keys = WINDOWS
