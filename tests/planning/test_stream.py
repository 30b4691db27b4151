"""What is recorded of a phase: every op is known, or an error names it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
import ttnn

from ttfamily.core.mesh.mesh import open_mesh
from ttfamily.core.mesh.placement import put
from ttfamily.errors import SimulatorError
from ttfamily.planning.stream import record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ttfamily.core.mesh.mesh import Mesh


@pytest.fixture
def dry() -> Iterator[Mesh]:
    mesh = open_mesh("n150", "dry")
    yield mesh
    mesh.close()


def empty(mesh: Mesh) -> ttnn.Tensor:
    return put(mesh, torch.empty(1, 1, 32, 32, device="meta"), dtype=ttnn.bfloat16)


def test_a_plan_over_an_op_without_a_row_is_an_error_that_names_it(dry: Mesh) -> None:
    x = empty(dry)
    with pytest.raises(SimulatorError, match=r"ttnn\.sin: got an op without a row; .*ttfamily/sim/ops/"):
        record(dry, lambda: ttnn.sin(x))
    stream = record(dry, lambda: ttnn.add(x, x))  # and the next phase is recorded as usual
    assert stream.counts() == {"add": 1}


def test_what_dispatches_nothing_is_a_call_and_no_op(dry: Mesh) -> None:
    def run() -> None:
        x = empty(dry)  # by the host
        view = ttnn.unsqueeze_to_4D(x)
        y = ttnn.add(view, view)
        ttnn.deallocate(x), ttnn.deallocate(y)

    stream = record(dry, run)
    assert stream.counts() == {"add": 1}
    assert stream.calls == 5


def test_an_op_in_place_makes_nothing_new(dry: Mesh) -> None:
    x = empty(dry)
    same = record(dry, lambda: ttnn.add(x, x, output_tensor=x)).ops[0]
    other = record(dry, lambda: ttnn.add(x, x)).ops[0]
    assert (len(same.made), len(other.made)) == (0, 1)
