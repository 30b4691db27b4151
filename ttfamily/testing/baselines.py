"""The op stream of every family on every mesh, as files that a test compares: a slower graph does not go unseen.

``python -m ttfamily.testing.baselines FOLDER`` (``make baseline``) writes them anew.
"""

from __future__ import annotations

import difflib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import FalconConfig, LlamaConfig, MistralConfig

from ttfamily.builder import Limits
from ttfamily.core.config.hf_config import HfConfig
from ttfamily.core.config.precision_policy import policy
from ttfamily.loading import choose_family
from ttfamily.planning.inventory import held_tensors
from ttfamily.planning.layout import laid_out
from ttfamily.planning.traffic import START, Roles, op_traffic
from ttfamily.sim.row import DecodePoint

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from ttfamily.planning.stream import Stream

MESHES = ("n150", "n300", "t3k", "2x4", "galaxy")
USERS, CONTEXT, PROMPT, LAYERS = 8, 512, 128, 2
_COMMON = {
    "vocab_size": 1000,
    "hidden_size": 512,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 16,
    "max_position_embeddings": CONTEXT,
}
_LLAMA = {**_COMMON, "num_key_value_heads": 8, "intermediate_size": 1024}
FORMS: dict[str, PretrainedConfig] = {
    "llama": LlamaConfig(**_LLAMA, architectures=["LlamaForCausalLM"]),
    "mistral": MistralConfig(**_LLAMA, sliding_window=96, architectures=["MistralForCausalLM"]),
    "falcon-7b": FalconConfig(**_COMMON, architectures=["FalconForCausalLM"]),
    "falcon-40b": FalconConfig(
        **_COMMON, new_decoder_architecture=True, num_kv_heads=8, architectures=["FalconForCausalLM"]
    ),
}


def measure(form: str, mesh: str) -> dict[str, Any]:
    """Return counts and bytes on one device of a decode step and a prefill chunk."""
    config = HfConfig(raw=FORMS[form].to_dict(), source=form)
    with laid_out(
        config,
        choose_family(config, None, None),
        mesh=mesh,
        precision=policy("performance"),
        limits=Limits(max_batch_size=USERS, max_seq_len=CONTEXT),
    ) as layout:
        roles = Roles(held_tensors(layout.transformer, layout.mesh.dram_banks))
        point = DecodePoint(users=USERS, position=CONTEXT - 1)
        return {
            "loaded_bytes": layout.loaded_bytes,
            "prefill": _phase(layout.prefill(PROMPT), roles, START),
            "decode": _phase(layout.decode(), roles, point),
        }


def _phase(stream: Stream, roles: Roles, point: DecodePoint) -> dict[str, Any]:
    ops: dict[str, dict[str, int]] = {}
    for op in stream.ops:
        traffic = op_traffic(op, roles, point)
        row = ops.setdefault(op.name, {"count": 0, "programs": 0, "read": 0, "written": 0})
        row["count"] += 1
        row["programs"] += len(op.programs)
        row["read"] += traffic.read
        row["written"] += traffic.written
    return {"calls": stream.calls, "dram_span": stream.dram_span, "ops": ops}


def as_text(measured: dict[str, Any]) -> str:
    """Return what a file of this folder holds: one line an op, so that a difference is short."""
    lines = ["{", f' "loaded_bytes": {measured["loaded_bytes"]},']
    for phase in ("decode", "prefill"):
        values = measured[phase]
        ops = [f"   {json.dumps(name)}: {json.dumps(row)}" for name, row in sorted(values["ops"].items())]
        lines += [f' "{phase}": {{', f'  "calls": {values["calls"]},', f'  "dram_span": {values["dram_span"]},']
        lines += ['  "ops": {', *(f"{op}," for op in ops[:-1]), ops[-1], "  }"]
        lines.append(" }," if phase == "decode" else " }")
    return "\n".join([*lines, "}", ""])


def difference(file: Path, measured: dict[str, Any]) -> str:
    """Return what has changed since a file was written, in lines of ``-`` and ``+``; nothing if nothing has."""
    before = file.read_text() if file.exists() else ""
    lines = difflib.unified_diff(
        before.splitlines(), as_text(measured).splitlines(), str(file), "measured now", lineterm="", n=0
    )
    return "\n".join(lines)


def file_of(folder: Path, form: str, mesh: str) -> Path:
    """Return where the baseline of a form on a mesh is kept."""
    return folder / f"{form}-{mesh}.json"


def main(folder: Path) -> None:
    """Write all baselines."""
    for mesh in MESHES:
        for form in FORMS:
            file_of(folder, form, mesh).write_text(as_text(measure(form, mesh)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
