"""The scheme of the residual stream is what moves least by the tech report's formulas, or what was asked for."""

from __future__ import annotations

import math

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.config.test_spec import MODEL
from ttfamily.core.layout.schemes import (
    PHASES,
    all_gather_movement,
    all_reduce_movement,
    alternatives,
    choose,
    reduce_scatter_movement,
)
from ttfamily.core.mesh.boards import Axis, MeshSpec
from ttfamily.errors import LayoutError, PlanError

KN = st.integers(1, 2**20)
AXES = st.builds(Axis, devices=st.integers(2, 8), topology=st.sampled_from(["line", "ring"]), links=st.just(1))


@given(elements=KN, axis=AXES)
def test_movements_are_the_reports_formulas(elements: int, axis: Axis) -> None:
    kndf, d = elements * 2.0, axis.devices
    gather = kndf / d * (d - 1) * d if axis.topology == "line" else kndf * d * math.log2(d)
    scatter = kndf * (1 - 1 / d)
    assert all_gather_movement(elements, axis) == pytest.approx(gather)
    assert reduce_scatter_movement(elements, axis) == pytest.approx(scatter)
    assert all_reduce_movement(elements, axis) == pytest.approx(gather + scatter)


@pytest.mark.parametrize("name", ["n150", "n300", "t3k", "2x4", "galaxy", "4x8", "t3k/dp4"])
@pytest.mark.parametrize("residual", ["sequential", "parallel", "parallel_shared_norm"])
def test_the_cheapest_scheme_that_can_be_used_is_taken_in_each_phase(name: str, residual: str) -> None:
    spec, mesh = attrs.evolve(MODEL, residual=residual), MeshSpec.parse(name)
    found = {phase: alternatives(spec, mesh, rows, 4096) for phase, rows in zip(PHASES, (32, 2048), strict=True)}
    chosen = choose(found, None, mesh)
    for phase in PHASES:
        usable = [each for each in found[phase] if each.refused is None]
        assert chosen[phase] == min(usable, key=lambda each: each.bytes_per_layer).scheme
        assert (len(found[phase]) == 2) == (mesh.hidden_axis is None and mesh.shape[1] > 1)


def test_a_scheme_can_be_asked_for() -> None:
    mesh = MeshSpec.parse("t3k")
    found = {phase: alternatives(MODEL, mesh, 32, 4096) for phase in PHASES}
    for scheme in ("replicated", "fractured"):
        assert set(choose(found, scheme, mesh).values()) == {scheme}


@pytest.mark.parametrize(
    ("name", "hidden_size", "asked", "said", "kind"),
    [
        ("t3k", 896, "fractured", "hidden_size 896 does not fall into 8 parts", LayoutError),
        ("galaxy", 4544, None, "hidden_size 4544 does not fall into 4 parts", LayoutError),
        ("t3k", 4096, "two_dimensional", "got scheme='two_dimensional'", PlanError),
        ("galaxy", 4096, "replicated", "got scheme='replicated'", PlanError),
    ],
)
def test_a_scheme_that_cannot_be_is_refused_with_the_reason(
    name: str, hidden_size: int, asked: str | None, said: str, kind: type[PlanError]
) -> None:
    mesh, spec = MeshSpec.parse(name), attrs.evolve(MODEL, hidden_size=hidden_size)
    found = {phase: alternatives(spec, mesh, 32, 4096) for phase in PHASES}
    with pytest.raises(PlanError, match=f"{said}.*1x2, 1x4, 1x8") as error:
        choose(found, asked, mesh)
    assert type(error.value) is kind
