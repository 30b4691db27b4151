"""What the chips can do: every constant of a prediction, each with its source; none is fitted to a model.

Sources: TR is Tenstorrent's tech report "LLMs in TT-NN"; DOCS are the card specifications at
docs.tenstorrent.com/aibs/wormhole/specifications.html; the numbers #n are issues and pull requests of
tenstorrent/tt-metal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ttfamily.core.mesh.mesh import Mesh

GB, TERA, MICRO = 1e9, 1e12, 1e-6


@attrs.frozen(kw_only=True)
class Chip:
    """One kind of chip.

    :param dram_peak: bytes/s that the memory delivers at the very best.
    :param dram_sharded: bytes/s that a DRAM-sharded matmul reads, each bank through its nearest core.
    :param dram_interleaved: bytes/s of any other access.
    :param flops_per_core: FLOP/s of one core's matrix engine, by math fidelity.
    :param link: bytes/s of one ethernet link, in each direction at once.
    :param hop: seconds from a chip to its neighbour.
    :param dispatch: seconds between two programs when nothing else limits.
    :param host_call: seconds that the host takes for a ttnn call which is not in a trace.
    :param pcie: bytes/s between host and card.
    """

    name: str
    dram_peak: float
    dram_sharded: float
    dram_interleaved: float
    flops_per_core: Mapping[str, float]
    link: float
    hop: float
    dispatch: float
    host_call: float
    pcie: float


_N150_CORES = 72  # that the n150's TFLOP/s are given for (DOCS)

WORMHOLE = Chip(
    name="Wormhole",
    dram_peak=288 * GB,  # DOCS: 192 bits at 12 GT/s
    dram_sharded=240 * GB,  # TR 4.7: "around 240 GB/s"
    dram_interleaved=190 * GB,  # TR 4.7: "around 190 GB/s"
    flops_per_core={
        "LoFi": 262 * TERA / _N150_CORES,  # DOCS, n150, FP8
        "HiFi2": 148 * TERA / _N150_CORES,  # DOCS, n150, BLOCKFP8
        "HiFi3": 98 * TERA / _N150_CORES,  # three passes of the engine to HiFi2's two
        "HiFi4": 74 * TERA / _N150_CORES,  # DOCS, n150, FP16
    },
    link=12.5 * GB,  # DOCS: 100 Gb/s, sending and receiving at once
    hop=0.8 * MICRO,  # #20903: 780 to 800 ns a hop, routers included
    dispatch=4 * MICRO,  # #12074: about 4,000 cycles at 1 GHz for a traced op, whatever it does; TR 4.6: below 6 us
    host_call=25 * MICRO,  # tt-symbiote on a mock n300: 83 calls of a layer, 1.5 to 2.7 ms of host time
    pcie=31.5 * GB,  # DOCS: PCI Express 4.0 x16
)


# Of Blackhole sources give these, by the names of planning/measured.py; none gives hop, dispatch and host_call, so a
# prediction needs them measured. BH-DOCS: docs.tenstorrent.com/aibs/blackhole/specifications.html.
_BANK_PEAK = 64 * GB  # BH-DOCS: 512 GB/s with 8 banks (p150a), 448 with 7 (p100a)
_ONE_READER, _ONE_NOC = 0.55, 0.7  # of the peak: #54242, a DRAM-sharded matmul; #30780, one network on the chip
_BLACKHOLE_CORES = 140  # that Hot Chips 2024 gave the chip's TFLOP/s for


def blackhole(banks: int) -> dict[str, float]:
    """Return what is published of a Blackhole chip, by name.

    :param banks: of its DRAM.
    """
    return {
        "dram_sharded": _ONE_READER * banks * _BANK_PEAK,
        "dram_interleaved": _ONE_NOC * banks * _BANK_PEAK,
        "flops_LoFi": 745 * TERA / _BLACKHOLE_CORES,
        "flops_HiFi2": 372 * TERA / _BLACKHOLE_CORES,
        "flops_HiFi4": 186 * TERA / _BLACKHOLE_CORES,  # twice the passes of HiFi2
        "link": 50 * GB,  # Hot Chips 2024: ten links of 400 Gb/s
        "pcie": 63 * GB,  # BH-DOCS: PCI Express 5.0 x16
    }


def chip_of(mesh: Mesh) -> Chip | None:
    """Return what is known of a mesh's chips; None where no source gives all of it, as for Blackhole."""
    return WORMHOLE if mesh.spec.arch == "wormhole_b0" else None
