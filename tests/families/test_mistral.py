"""Mistral conforms, with windows that prompts and generation run over."""

from __future__ import annotations

from hypothesis import strategies as st

from ttfamily.plugins.mistral import MISTRAL
from ttfamily.testing import Conformance


class TestMistral(Conformance):
    family = MISTRAL
    keys = {"sliding_window": st.none() | st.integers(1, 40) | st.integers(1, 600)}
