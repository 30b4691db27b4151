"""Llama conforms."""

from __future__ import annotations

from ttfamily.plugins.llama import LLAMA
from ttfamily.testing import Conformance


class TestLlama(Conformance):
    family = LLAMA
