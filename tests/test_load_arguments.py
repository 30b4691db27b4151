"""Arguments of ``load`` of another type are refused before anything is opened, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ttfamily.core.mesh.mesh import open_mesh
from ttfamily.errors import MeshError, PlanError
from ttfamily.load_arguments import load_arguments

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("value", [1.0, "32", None, True, [4]], ids=repr)
def test_sizes_of_another_type_are_refused_before_anything_is_opened(value: Any) -> None:
    with pytest.raises(PlanError, match=r"max_batch_size: got .*; expected an integer"):
        load_arguments("n150", value, None)
    if value is not None:
        with pytest.raises(PlanError, match=r"max_seq_len: got .*; expected an integer, or None"):
            load_arguments("n150", 1, value)
    assert load_arguments("n150", np.int64(3), np.int64(4)) == ("n150", 3, 4)


@pytest.mark.parametrize("value", [None, 1, (1, 2), 2.5, b"n150"], ids=repr)
def test_a_mesh_is_a_name_or_an_open_mesh(value: Any) -> None:
    with pytest.raises(MeshError, match=r"mesh: got .*; expected a name such as 'n300'"):
        load_arguments(value, 1, None)


@pytest.mark.parametrize("use", [
    lambda mesh: mesh.dram_bytes(), lambda mesh: mesh.device, lambda mesh: load_arguments(mesh, 1, None),
])  # fmt: skip
def test_a_closed_mesh_says_so(use: Callable[[Any], Any]) -> None:
    mesh = open_mesh("n150", "dry")
    use(mesh)
    mesh.close()
    mesh.close()
    with pytest.raises(MeshError, match="mesh 'n150': got a use of it after it was closed"):
        use(mesh)
