"""The mock clusters that every simulated mesh is cut from, one for each architecture.

ttnn keeps the first cluster a process opens, so there is one descriptor for all Wormhole meshes: a
Galaxy, the only cluster type that also opens every smaller rectangle (a T3K refuses sub-meshes), with
the row harvesting of the smaller boards. Blackhole has a cluster of its own, a single p150.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from ttfamily.arch import Arch

ROWS, COLUMNS = 4, 8

# One bit per harvested Tensix row: two of ten are off. That leaves the 8 x 8 grid which n150,
# n300 and T3K give to programs in fast dispatch; a Galaxy's own mask (0) reports 8 x 10, because
# slow dispatch, which the mock needs, reserves no cores for the dispatcher.
HARVEST_MASK = 0b10_0000_0001

# ttnn places a Galaxy chip by its PCIe bus number: the high digit names one of four trays of
# 2 x 4 chips, the low digit the chip's place in its tray, counted from 1 along the rows from the
# corner that is a corner of the Galaxy too. With any other numbering ttnn finds no mesh.
TRAY_BUS = ((0x80, 0x40), (0xC0, 0x00))
TRAY_ROWS, TRAY_COLUMNS = ROWS // 2, COLUMNS // 2

# Neighbours are joined by four ethernet channels; these are the first channel of each side.
LINKS = 4
NORTH, WEST, EAST, SOUTH = 0, 4, 8, 12

# The product numbers of the boards, which ttnn reads in bits 36-55 of the serial number.
GALAXY_BOARD = 0x35 << 36
P150_BOARD = 0x40 << 36

# Of a p150: one of its 14 columns of Tensix cores is off, which leaves the 13 x 10 that fast dispatch gives to
# programs; 2 of its 14 ethernet channels and 1 of its 2 PCIe cores are off on every board.
P150_HARVEST = {"harvest_mask": 1, "eth_harvesting_mask": 0b1_0010_0000, "pcie_harvesting_mask": 0b10}


def _bus(chip: int) -> int:
    row, column = divmod(chip, COLUMNS)
    from_edge = min(row, ROWS - 1 - row) * TRAY_COLUMNS + min(column, COLUMNS - 1 - column)
    return TRAY_BUS[row // TRAY_ROWS][column // TRAY_COLUMNS] + from_edge + 1


def wormhole_cluster() -> str:
    """Describe the universal Wormhole cluster: 4 x 8 chips, each with 8 x 8 cores and 12 DRAM banks.

    :returns: YAML for ``TT_METAL_MOCK_CLUSTER_DESC_PATH``.
    """
    chips = range(ROWS * COLUMNS)
    east = [(chip, EAST, chip + 1, WEST) for chip in chips if (chip + 1) % COLUMNS]
    south = [(chip, SOUTH, chip + COLUMNS, NORTH) for chip in chips[:-COLUMNS]]
    return "\n".join(
        [
            "arch:",
            *(f"  {chip}: wormhole_b0" for chip in chips),
            "ethernet_connections:",
            *(
                f"  - [{{chip: {a}, chan: {leaves + link}}}, {{chip: {b}, chan: {enters + link}}}]"
                for a, leaves, b, enters in east + south
                for link in range(LINKS)
            ),
            "chips_with_mmio:",
            *(f"  - {chip}: {chip}" for chip in chips),
            "harvesting:",
            *(f"  {chip}: {{noc_translation: true, harvest_mask: {HARVEST_MASK}}}" for chip in chips),
            "boards:",
            f"  - [{{board_id: {GALAXY_BOARD}}}, {{board_type: ubb}}, {{chips: {list(chips)}}}]",
            "chip_to_bus_id:",
            *(f"  {chip}: 0x{_bus(chip):02x}" for chip in chips),
            "",
        ]
    )


def blackhole_cluster() -> str:
    """Describe a p150: one chip with 13 x 10 cores and 8 DRAM banks.

    :returns: YAML for ``TT_METAL_MOCK_CLUSTER_DESC_PATH``.
    """
    harvest = ", ".join(f"{name}: {mask}" for name, mask in P150_HARVEST.items())
    return "\n".join(
        [
            "arch: {0: blackhole}",
            "ethernet_connections: []",
            "chips_with_mmio: [{0: 0}]",
            f"harvesting: {{0: {{noc_translation: true, {harvest}}}}}",
            f"boards: [[{{board_id: {P150_BOARD}}}, {{board_type: p150}}, {{chips: [0]}}]]",
            "",
        ]
    )


# Chips of each cluster, along its shorter side and its longer one.
LARGEST: dict[Arch, tuple[int, int]] = {"wormhole_b0": (ROWS, COLUMNS), "blackhole": (1, 1)}
CLUSTERS: dict[Arch, Callable[[], str]] = {"wormhole_b0": wormhole_cluster, "blackhole": blackhole_cluster}
