"""Errors for a weight table and a checkpoint that do not belong together, and the likeliest reason."""

from __future__ import annotations

from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from ttfamily.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ttfamily.core.weights.checkpoint import Checkpoint

_SHOWN = 8
_NEAR = 3


def missing_tensor(checkpoint: Checkpoint, name: str, module: str, layer: int | None, *, who: str) -> CheckpointError:
    """Return the error for a tensor that a rule names and the checkpoint does not hold.

    :param module: the rule's path, from which the name was made.
    :param who: family and slot.
    """
    names = checkpoint.names
    # Of a layer's tensor only the names of that layer: it is quicker, and other layers' names are as near.
    near = get_close_matches(name, [each for each in names if layer is None or f".{layer}." in each], _NEAR)
    there = f"where the nearest are {', '.join(near)}" if near else "where nothing has a name like it"
    kind = name.rpartition(".")[2]
    if any(fnmatchcase(each, f"{_of_any_layer(module)}.{kind}") for each in names):
        fix = "Other layers have it: check that config.json belongs to these weights and the download is complete."
    elif kind == "bias" and f"{name.removesuffix('bias')}weight" in names:
        fix = "Its weight is there: check what config.json, or the family's spec(), says of biases."
    else:
        fix = f"Correct the module path {module!r} in the family's 'weights' table, or complete the download."
    return CheckpointError(
        who,
        got=f"no tensor {name}",
        expected=f"it among the {len(names)} tensors of {checkpoint.source}, {there}",
        fix=fix,
    )


def unused_tensors(
    checkpoint: Checkpoint, unused: Sequence[str], unasked: Mapping[str, tuple[str, ...]], *, family: str
) -> CheckpointError:
    """Return the error for tensors that no slot took.

    :param unasked: slots that no block asked for, with their rules' modules.
    """
    more = f" and {len(unused) - _SHOWN} more" if len(unused) > _SHOWN else ""
    named = [
        slot
        for slot, modules in unasked.items()
        if any(fnmatchcase(unused[0], f"{_of_any_layer(module)}.*") for module in modules)
    ]
    why = f"The spec asks for no {named[0]}, whose rule names the first of them. " if named else ""
    return CheckpointError(
        checkpoint.source,
        got=f"{len(unused)} tensors that no part of the model takes: {', '.join(unused[:_SHOWN])}{more}",
        expected=f"only tensors of the {family} family, as config.json describes it",
        fix=f"{why}Check that config.json belongs to these weights; a tensor that carries no weight "
        "belongs into the family's 'ignored' patterns.",
    )


def _of_any_layer(module: str) -> str:
    return module.replace("{layer}", "*")
