"""Plain ttnn code that knows nothing of ttfamily: operators, methods, ops of every kind, against the same in torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import ttnn

if TYPE_CHECKING:
    from ttfamily.core.mesh.mesh import Mesh
    from ttfamily.testing.operands import Operands


class Router:
    """An MLP, and of its classes the best few, scaled and put back into place: a mixture of experts' gate."""

    def __init__(self, device: ttnn.MeshDevice, up: torch.Tensor, down: torch.Tensor, chosen: int) -> None:
        def weight(values: torch.Tensor) -> ttnn.Tensor:
            return ttnn.as_tensor(
                values, ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=device, memory_config=ttnn.DRAM_MEMORY_CONFIG
            )

        self.up, self.down, self.chosen = weight(up), weight(down), chosen

    def __call__(self, x: ttnn.Tensor) -> tuple[ttnn.Tensor, ttnn.Tensor]:
        hidden = ttnn.linear(x, self.up, activation="gelu")
        gate = ttnn.sigmoid(hidden)
        hidden = hidden * gate - 0.5 * gate
        scores = hidden @ self.down
        chances = ttnn.softmax(scores, dim=-1)
        chances = ttnn.where(ttnn.gt(chances, 0.001), chances, 0.0)
        best, places = ttnn.topk(chances, self.chosen, dim=-1)
        best = best / ttnn.sum(best, dim=-1, keepdim=True)
        nothing = ttnn.to_layout(ttnn.zeros_like(chances), ttnn.ROW_MAJOR_LAYOUT)
        places = ttnn.to_layout(ttnn.typecast(places, ttnn.uint32), ttnn.ROW_MAJOR_LAYOUT)
        routed = ttnn.scatter(nothing, 3, places, ttnn.to_layout(best, ttnn.ROW_MAJOR_LAYOUT))
        winner = ttnn.argmax(routed, dim=-1)
        hidden.deallocate()
        return routed[:, 0], winner


def in_torch(x: torch.Tensor, up: torch.Tensor, down: torch.Tensor, chosen: int) -> torch.Tensor:
    hidden = torch.nn.functional.gelu(x @ up)
    chances = ((hidden - 0.5) * hidden.sigmoid() @ down).softmax(-1)
    best, places = torch.where(chances > 0.001, chances, 0.0).topk(chosen, -1)
    return torch.zeros_like(chances).scatter(3, places, best / best.sum(-1, keepdim=True))[:, 0]


def test_a_router_is_the_same_in_torch(bench: Operands) -> None:
    mesh: Mesh = bench.mesh
    up = torch.randn(64, 128, generator=bench.numbers) / 8
    down = torch.randn(128, 64, generator=bench.numbers) / 2
    x = torch.randn(mesh.tensor_parallel, 1, 32, 64, generator=bench.numbers)
    router = Router(mesh.device, up, down, chosen=8)
    mapper: Any = ttnn.ShardTensorToMesh(mesh.device, dim=0)
    routed, winner = router(
        ttnn.from_torch(x, ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=mesh.device, mesh_mapper=mapper)
    )
    composer = ttnn.ConcatMeshToTensor(mesh.device, dim=0)
    got = ttnn.to_torch(routed, mesh_composer=composer).float()
    want = in_torch(x, up, down, 8)
    assert torch.allclose(got.sum(-1), torch.ones(len(x), 32), atol=0.02)
    assert (got > 0).sum(-1).eq(8).all()
    # Of places that are nearly as good as one another, bfloat16 may choose others.
    assert ((got > 0) == (want > 0)).float().mean() > 0.99
    assert ((got - want).abs() < 0.02).float().mean() > 0.99
    assert torch.equal(ttnn.to_torch(winner, mesh_composer=composer).long()[:, 0], got.argmax(-1))
