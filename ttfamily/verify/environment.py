"""What a report says of the machine it comes from: nothing that names its owner, and no path."""

from __future__ import annotations

import platform
import re
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ttfamily.core.mesh.mesh import Mesh

PACKAGES = ("ttfamily", "ttnn", "torch", "transformers")
# What Tenstorrent's kernel driver shows of a card.
CARD_FACTS = ("tt_card_type", "tt_fw_bundle_ver", "tt_arc_fw_ver", "tt_eth_fw_ver", "tt_m3app_fw_ver")


def environment(mesh: Mesh, root: Path = Path("/")) -> dict[str, Any]:
    """Describe an open mesh and the machine that it is in.

    :param root: the folder that holds ``sys`` and ``proc``.
    """
    chips = mesh.shape[0] * mesh.shape[1]
    return {
        "mesh": mesh.name,
        "shape": list(mesh.shape),
        "chips": chips,
        "device": mesh.kind,
        "arch": mesh.spec.arch,
        "grid": list(mesh.grid),
        "dram_banks": mesh.dram_banks,
        "dram_bytes": mesh.dram_bytes()[1],
        "l1_bytes": len(mesh.l1),
        "axes": [{"devices": axis.devices, "topology": axis.topology, "links": axis.links} for axis in mesh.spec.axes],
        "packages": {name: _version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(root),
        "driver": _read(root / "sys" / "module" / "tenstorrent" / "version"),
        "cards": _cards(root),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu(root: Path) -> str:
    name = re.search(r"^model name\s*:\s*(.*)$", _read(root / "proc" / "cpuinfo"), re.MULTILINE)
    return name[1] if name else "unknown"


def _cards(root: Path) -> list[dict[str, str]]:
    """Type and firmware of each card, without its serial number."""
    folder = root / "sys" / "class" / "tenstorrent"
    cards = sorted(folder.glob("tenstorrent!*")) if folder.is_dir() else []
    return [{fact: _read(card / fact) for fact in CARD_FACTS if (card / fact).exists()} for card in cards]


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
