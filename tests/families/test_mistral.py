"""Mistral conforms, with windows that prompts and generation run over."""

from __future__ import annotations

from hypothesis import strategies as st

from ttfamily.plugins.mistral import MISTRAL
from ttfamily.testing import Conformance


class TestMistral(Conformance):
    family = MISTRAL
    # From 2 on: of a window of 1, transformers keeps the whole cache ([-0:]) and masks none of it in decode.
    keys = {"sliding_window": st.none() | st.integers(2, 40) | st.integers(2, 600)}
