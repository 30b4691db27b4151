"""What to do about what was found, where something is known about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ttfamily.verify.heartbeat import Beat

RESET = "Reset the card (tt-smi -r), then run the same command again: a hang in the same place is worth a report."
# By what was being done: an op's name without ttnn., or a part of what the heartbeat says.
KNOWN = {
    "linear": "Large DRAM-sharded matmuls hang on some early cards (tt-metal issue 13668).",
    "decode matmuls": "Large DRAM-sharded matmuls hang on some early cards (tt-metal issue 13668).",
    "all_reduce": "ttnn.all_reduce hung on a 1x32 Galaxy (tt-metal issue 43749).",
    "open_mesh_device": "A mesh does not open with dispatch cores that its boards do not have (tt-metal issue 57142, "
    "tt-mlir issues 1897 and 2033): say in the report which card it is.",
    "decode step": "A replay that hangs after a program was compiled or a tensor made since its capture: "
    "TT_METAL_TRACE_ALLOC_TRACKING=1 names what was made.",
}
SEND = (
    "report.json, which has everything that this page shows, and no name, path or serial number",
    'what "tt-smi -s" prints, if the card hung or did not open',
    'what "ttfamily doctor" prints, if the mesh did not open',
)


def after_hang(beat: Beat | None) -> str:
    """Say what to do after a hang, and what is known of such ones."""
    doing, part = (beat.doing.removeprefix("ttnn."), beat.part) if beat else ("", "")
    known = [text for name, text in KNOWN.items() if doing.startswith(name) or name in part]
    return " ".join([*known, RESET])
