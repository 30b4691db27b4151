"""The mock clusters that every simulated mesh is cut from: one for all Wormhole boards, one a Blackhole card.

ttnn keeps the first cluster a process opens, so there is one descriptor for all Wormhole meshes: a
Galaxy, the only cluster type that also opens every smaller rectangle (a T3K refuses sub-meshes), with
the row harvesting of the smaller boards. Blackhole's cards differ in cores and DRAM banks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from ttfamily.arch import Cluster

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

# The product number of the board, which ttnn reads in bits 36-55 of the serial number.
GALAXY_BOARD = 0x35


@attrs.frozen(kw_only=True)
class BlackholeCard:
    """A Blackhole card, one bit for each part that is off on it.

    ttnn takes at most two columns of Tensix cores off, and its slow dispatch, which the mock needs, keeps none for the
    dispatcher: where a card has two columns off, the mock has one more to give than the card.

    :param product: of its serial number.
    :param board_type: as ttnn names it.
    :param columns_off: of 14 columns of Tensix cores.
    :param banks_off: of 8 DRAM banks.
    :param pcie_off: of each chip's 2 PCIe cores, chip by chip.
    """

    product: int
    board_type: str
    columns_off: int
    banks_off: int = 0
    pcie_off: tuple[int, ...] = (0b10,)


CARDS: dict[Cluster, BlackholeCard] = {
    # 120 cores and 7 banks (docs.tenstorrent.com, p100a); fast dispatch takes one more column.
    "p100": BlackholeCard(product=0x43, board_type="p100", columns_off=0b11, banks_off=0b1),
    # 140 cores; the column that is off here is the one that fast dispatch takes.
    "p150": BlackholeCard(product=0x40, board_type="p150", columns_off=0b1),
    # 2 chips of 120 cores; each has another PCIe core.
    "p300": BlackholeCard(product=0x44, board_type="p300", columns_off=0b11, pcie_off=(0b10, 0b01)),
}
ETHERNET_OFF = 0b1_0010_0000  # 2 of 14 channels, on every board
# The two chips of a p300: channel of one, channel of the other.
P300_LINKS = ((8, 2), (9, 3))


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
            f"  - [{{board_id: {GALAXY_BOARD << 36}}}, {{board_type: ubb}}, {{chips: {list(chips)}}}]",
            "chip_to_bus_id:",
            *(f"  {chip}: 0x{_bus(chip):02x}" for chip in chips),
            "",
        ]
    )


def blackhole_cluster(card: BlackholeCard) -> str:
    """Describe a Blackhole card: one chip, or two that are joined by two links.

    :returns: YAML for ``TT_METAL_MOCK_CLUSTER_DESC_PATH``.
    """
    chips = range(len(card.pcie_off))
    off = f"harvest_mask: {card.columns_off}, dram_harvesting_mask: {card.banks_off}"
    off += f", eth_harvesting_mask: {ETHERNET_OFF}"
    links = [f"[{{chip: 0, chan: {a}}}, {{chip: 1, chan: {b}}}]" for a, b in P300_LINKS if len(chips) > 1]
    return "\n".join(
        [
            "arch:",
            *(f"  {chip}: blackhole" for chip in chips),
            f"ethernet_connections: [{', '.join(links)}]",
            "chips_with_mmio:",
            *(f"  - {chip}: {chip}" for chip in chips),
            "harvesting:",
            *(
                f"  {chip}: {{noc_translation: true, {off}, pcie_harvesting_mask: {pcie}}}"
                for chip, pcie in zip(chips, card.pcie_off, strict=True)
            ),
            "asic_locations:",
            *(f"  {chip}: {chip}" for chip in chips),
            "boards:",
            f"  - [{{board_id: {card.product << 36}}}, {{board_type: {card.board_type}}}, {{chips: {list(chips)}}}]",
            "",
        ]
    )


def describe(cluster: Cluster) -> str:
    """Describe a cluster; YAML as :func:`wormhole_cluster` returns it."""
    return wormhole_cluster() if cluster == "wormhole" else blackhole_cluster(CARDS[cluster])


# Chips of each cluster, along its shorter side and its longer one.
LARGEST: dict[Cluster, tuple[int, int]] = {
    "wormhole": (ROWS, COLUMNS),
    **{name: (1, len(card.pcie_off)) for name, card in CARDS.items()},
}
