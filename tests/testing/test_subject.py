"""What the conformance kit passes over, and what it does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttfamily.errors import LayoutError, PlanError
from ttfamily.testing.conformance.subject import or_another_shape

PARTS = {"got": "a", "expected": "b", "fix": "C."}


@given(refused=st.booleans())
def test_another_shape_is_drawn_where_a_mesh_has_no_programs_for_one(refused: bool) -> None:
    with or_another_shape():
        if refused:
            raise LayoutError("layer 0 mlp.up", **PARTS)
    assert not refused


def test_no_other_error_of_a_plan_is_passed_over() -> None:
    with pytest.raises(PlanError), or_another_shape():
        raise PlanError("head_dim", **PARTS)
