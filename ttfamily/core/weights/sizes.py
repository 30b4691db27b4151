"""Whether a config's sizes are those of the checkpoint, seen in the headers before anything is built."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from ttfamily.core.weights.weights import EMBEDDING, Weights
from ttfamily.errors import CheckpointError

if TYPE_CHECKING:
    from ttfamily.core.config.spec import ModelSpec
    from ttfamily.core.weights.checkpoint import Checkpoint
    from ttfamily.core.weights.weights import HasWeights


def check_sizes(checkpoint: Checkpoint, family: HasWeights, spec: ModelSpec) -> None:
    """Refuse a spec that is larger than the checkpoint, or has another number of layers.

    It takes a moment and reads no tensor, so that a damaged number is not first laid out on a mesh, for which
    the model would be too large. What else does not agree is found as the tensors are taken, one by one.

    :raises CheckpointError: naming the size and what the checkpoint has.
    :raises PluginError: if the family has no rule for the embedding.
    """
    shape = (spec.vocab_size, spec.hidden_size)
    Weights(checkpoint.outline(), family, spec).take(EMBEDDING, (shape,))
    layers = _layers(checkpoint, family, spec)
    if not layers:
        return  # of no module that the table names: the first slot of a layer says so
    if max(layers.values()) + 1 != spec.num_hidden_layers:
        raise _wrong(
            checkpoint,
            "num_hidden_layers",
            got=f"{spec.num_hidden_layers:,}",
            expected=f"{max(layers.values()) + 1:,}, of which the checkpoint has the weights",
        )
    elements = max(checkpoint.info(name).elements for name in layers)
    widest = elements // spec.hidden_size
    attention = spec.attention
    sizes = {
        "num_attention_heads * head_dim": attention.num_attention_heads * attention.head_dim,
        "intermediate_size": spec.mlp.intermediate_size,
    }
    for name, size in sizes.items():
        if size > widest:
            expected = f"at most {widest:,}: no tensor of a layer has more than {elements:,} elements"
            raise _wrong(checkpoint, name, got=f"{size:,}", expected=expected)


def _layers(checkpoint: Checkpoint, family: HasWeights, spec: ModelSpec) -> dict[str, int]:
    """Return the tensors that rules of layers name, with the number of their layer."""
    modules = {module for rule in family.rules(spec).values() for module in rule.modules if "{layer}" in module}
    if not modules:
        return {}
    paths = "|".join(re.escape(module).replace(re.escape("{layer}"), r"(\d{1,9})", 1) for module in sorted(modules))
    layers = re.compile(rf"(?:{paths})\.(?:weight|bias)")
    found = ((name, layers.fullmatch(name)) for name in checkpoint.names)
    return {
        name: int(match[match.lastindex or 0])
        for name, match in found
        if match and not any(fnmatchcase(name, pattern) for pattern in family.ignored)
    }


def _wrong(checkpoint: Checkpoint, who: str, *, got: str, expected: str) -> CheckpointError:
    fix = f"Check that config.json belongs to the weights in {checkpoint.source}."
    return CheckpointError(f"{who} in config.json", got=got, expected=expected, fix=fix)
