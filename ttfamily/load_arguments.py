"""The types of ``load``'s arguments, checked before anything is opened; the plan checks their ranges."""

from __future__ import annotations

from ttfamily.core.mesh.mesh import Mesh
from ttfamily.engine.values import index, shown
from ttfamily.errors import MeshError, PlanError


def load_arguments(mesh: object, max_batch_size: object, max_seq_len: object) -> tuple[str | Mesh, int, int | None]:
    """Return them as plain Python values.

    :raises MeshError: if ``mesh`` is no name and no mesh, or a closed one.
    :raises PlanError: if a size is no integer.
    """
    if isinstance(mesh, Mesh):
        mesh.require_open()
    elif not isinstance(mesh, str):
        expected = "a name such as 'n300' or '2x4', or an open Mesh"
        raise MeshError("mesh", got=shown(mesh), expected=expected, fix="Name the board that you have.")
    users, longest = index(max_batch_size), index(max_seq_len)
    if users is None:
        raise PlanError("max_batch_size", got=shown(max_batch_size), expected="an integer", fix="Correct the call.")
    if longest is None and max_seq_len is not None:
        expected = "an integer, or None for the longest that fits"
        raise PlanError("max_seq_len", got=shown(max_seq_len), expected=expected, fix="Correct the call.")
    return mesh, users, longest
