"""The kit that every family must pass: point a class at a family, and pytest does the rest."""

from __future__ import annotations

from ttfamily.testing.conformance.blocks import BlockTests
from ttfamily.testing.conformance.contract import ContractTests
from ttfamily.testing.conformance.invariants import InvariantTests
from ttfamily.testing.conformance.logits import LogitTests
from ttfamily.testing.conformance.statements import StatementTests

__all__ = ["Conformance"]


class Conformance(ContractTests, StatementTests, BlockTests, LogitTests, InvariantTests):
    """What a family must hold, on every mesh of ``--tt-mesh``, with configs that hypothesis draws.

    A subclass names its subject::

        class TestQwen3(Conformance):
            family = QWEN3
            keys = {"sliding_window": st.none() | st.integers(2, 300)}

    and gets, each against Hugging Face's own modules in float32:

    - the contract: every weight of a checkpoint used exactly once; no config key that changes Hugging Face's
      numbers and not the spec;
    - what blocks say of themselves: bytes of DRAM, collectives, the widest point of a prefill;
    - norm, MLP, embedding, head, attention and a decoder layer, in prefill and in decode, with the key/value
      cache (PCC 0.999, a layer 0.998);
    - logits of a whole model over a prefill and 32 decode steps (0.99), and between meshes (0.9999);
    - invariants, bit for bit: the order of slots, users beside one another, padding, refilled slots, traces.

    :cvar family: the :class:`ttfamily.Family`.
    :cvar keys: config keys beyond the usual ones, or in their place: values or hypothesis strategies.
    :cvar excluded: what is not drawn: config key -> values, or a function that says of a value whether it is one;
        also of ``rope_type``, and of a ``head_dim`` that follows from other keys.
    :cvar config_class: transformers' config class; by default that of the family's first architecture.
    :cvar modules: slot -> path in transformers' model, where it does not follow from the weight table.

    For a config whose keys have other names, override :meth:`configs`. Where transformers' modules are not cut as the
    family's blocks are, override :meth:`reference`.
    """
