"""A device's share of the weights: what was taken of a checkpoint, as the tensors that it fills are cut."""

from __future__ import annotations

from ttfamily.core.weights.weights import Taken
from ttfamily.planning.floor import shares
from ttfamily.planning.inventory import Held
from ttfamily.sim.facts import TensorFacts

TENSOR = TensorFacts(
    shape=(1, 1, 32, 32), dtype="BFLOAT8_B", layout="tile", memory="dram_sharded", bytes=1088, held=1088, cores=12,
    buffer=1,
)  # fmt: skip


def test_a_share_has_the_format_and_the_cut_of_the_first_tensor_of_its_slot() -> None:
    held = [Held(slot="a", format="bfp8", parts=4, tensor=TENSOR), Held(slot="a", parts=2, tensor=TENSOR)]
    (share,) = shares([Taken(slot="a", layer=None, cut="column", elements=4096, biases=64)], held)
    assert share.held is held[0]
    assert share.bytes == (4 * 1088 + 64 * 2) / 4


def test_what_fills_no_tensor_in_dram_has_no_share() -> None:
    (share,) = shares([Taken(slot="b", layer=0, cut="row", elements=4096, biases=0)], [Held(slot="b", tensor=TENSOR)])
    assert (share.held, share.bytes) == (None, 0)
