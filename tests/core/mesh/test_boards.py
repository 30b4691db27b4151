"""The name of a mesh says its shape, what each axis cuts, and how many replicas there are."""

from __future__ import annotations

import pytest

from ttfamily.core.mesh.boards import MeshSpec
from ttfamily.core.mesh.mesh import fabric, open_mesh
from ttfamily.errors import MeshError

# name -> shape, (tensor axis, hidden axis, data axis)
MEANINGS = {
    "n150": ((1, 1), (1, None, None)),
    "n300": ((1, 2), (1, None, None)),
    "t3k": ((1, 8), (1, None, None)),
    "2x4": ((2, 4), (1, 0, None)),
    "galaxy": ((8, 4), (0, 1, None)),
    "tg": ((8, 4), (0, 1, None)),
    "4x8": ((4, 8), (1, 0, None)),
    "8x1": ((8, 1), (0, None, None)),
    "n300-chip": ((1, 1), (1, None, None)),
    "p100": ((1, 1), (1, None, None)),
    "p150": ((1, 1), (1, None, None)),
    "p300": ((1, 2), (1, None, None)),
    "t3k/dp2": ((2, 4), (1, None, 0)),
    "t3k/dp4": ((4, 2), (1, None, 0)),
    "t3k/dp8": ((8, 1), (1, None, 0)),
    "n300/dp2": ((2, 1), (1, None, 0)),
    "galaxy/dp4": ((4, 8), (1, None, 0)),
    "galaxy/dp8": ((8, 4), (1, None, 0)),
}


@pytest.mark.parametrize("name", MEANINGS)
def test_a_name_means_a_shape_and_what_each_axis_cuts(name: str) -> None:
    spec = MeshSpec.parse(name)
    assert (spec.shape, (spec.tensor_axis, spec.hidden_axis, spec.data_axis)) == MEANINGS[name]
    assert spec.name == name


@pytest.mark.parametrize(
    ("name", "expected"),
    [("n300", "FABRIC_1D"), ("t3k", "FABRIC_1D_RING"), ("t3k/dp8", "FABRIC_1D"), ("1x8", "FABRIC_1D_RING"),
     ("2x4", "FABRIC_1D"), ("t3k/dp2", "FABRIC_1D"), ("galaxy", "FABRIC_1D"), ("8x4", "FABRIC_1D")],
)  # fmt: skip
def test_the_fabric_is_a_ring_where_all_chips_are_in_one(name: str, expected: str) -> None:
    assert fabric(MeshSpec.parse(name)) == expected


@pytest.mark.parametrize(("name", "links"), [("galaxy", (4, 3)), ("galaxy/dp4", (3, 4)), ("galaxy/dp8", (4, 3))])
def test_replicas_lie_along_the_links_of_the_board(name: str, links: tuple[int, int]) -> None:
    spec = MeshSpec.parse(name)
    assert tuple(axis.links for axis in spec.axes) == links


def test_a_mesh_that_the_cluster_is_too_small_for_is_refused() -> None:
    with pytest.raises(MeshError, match="simulated mesh: got 8 x 8 wormhole chips; expected at most 4 x 8"):
        open_mesh("8x8", "dry")


@pytest.mark.parametrize("name", ["", "n151", "0x4", "9x1", "2x", "2x4x1", "x", "N150", "t3k/", "1 x 2"])
def test_another_name_is_refused_with_those_there_are(name: str) -> None:
    if name == "t3k/":
        assert MeshSpec.parse(name).shape == (1, 8)
        return
    with pytest.raises(MeshError, match="n150, n300-chip, n300, t3k, galaxy, p100, p150, p300, tg"):
        MeshSpec.parse(name)


@pytest.mark.parametrize("name", ["t3k/dp3", "t3k/tp2", "t3k/dp", "t3k/dp0", "n150/dp2", "galaxy/dp2", "t3k/dp4/dp2"])
def test_replicas_that_do_not_share_the_chips_are_refused_with_those_that_do(name: str) -> None:
    with pytest.raises(MeshError, match="how many replicas share the"):
        MeshSpec.parse(name)


@pytest.mark.parametrize("name", ["t3k", "2x4", "galaxy", "4x8", "t3k/dp4", "galaxy/dp8", "2x2", "1x4"])
def test_every_mesh_opens_on_the_mock_cluster(name: str) -> None:
    mesh = open_mesh(name, "dry")
    try:
        assert tuple(mesh.device.shape) == mesh.shape == MeshSpec.parse(name).shape
        assert mesh.tensor_parallel * mesh.hidden_parallel * mesh.replicas == mesh.shape[0] * mesh.shape[1]
    finally:
        mesh.close()
