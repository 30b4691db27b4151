"""Code that nobody here wrote: modules of tt-symbiote on a simulated mesh agree with the torch modules they replace.

They are called without tt-symbiote's own fallback to torch, which would hide an op that fails.
"""

from __future__ import annotations

import importlib.util
import warnings
from typing import TYPE_CHECKING, Any

import pytest
import torch
import ttnn
from torch import nn
from torch.nn import functional

from ttfamily.sim.session import observed
from ttfamily.testing.correlation import pcc

if TYPE_CHECKING:
    from collections.abc import Callable

    from ttfamily.core.mesh.mesh import Mesh

INSTALLED = importlib.util.find_spec("tt_symbiote") is not None
pytestmark = [
    pytest.mark.skipif(
        not INSTALLED,
        reason="tt_symbiote is not installed: pip install --no-deps tt-symbiote (it pins another transformers)",
    ),
    pytest.mark.filterwarnings("ignore::UserWarning"),  # of its model recipes that do not import, and of its layers
]
AGREES = 0.9995


@pytest.fixture(autouse=True)
def as_on_t3k(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most of its modules are marked as tried on a T3K only, and refuse to run elsewhere."""
    monkeypatch.setenv("MESH_DEVICE", "T3K")
    torch.manual_seed(0)


def modules(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(f"tt_symbiote.modules.ttnn_{name}")


def on_mesh(mesh: Mesh, values: Any) -> Any:
    if not isinstance(values, torch.Tensor):
        return values
    if values.is_floating_point():
        return ttnn.from_torch(values, dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=mesh.device)
    return ttnn.from_torch(values.int(), dtype=ttnn.uint32, device=mesh.device)


def whole(tensor: ttnn.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The first device's part, or all side by side where each has some of the columns."""
    parts = [ttnn.to_torch(part).float() for part in ttnn.get_device_tensors(tensor)]
    return parts[0] if parts[0].numel() == like.numel() else torch.cat(parts, -1)


def ran(mesh: Mesh, module: Any, *inputs: Any, **named: Any) -> tuple[ttnn.Tensor, list[str]]:
    """Load a module, run its forward, and return what it gives and the ops that ran."""
    from tt_symbiote import set_device

    seen: list[str] = []
    set_device(module, mesh.device)
    module.preprocess_weights()
    module.move_weights_to_device()
    with observed(lambda name, *_: seen.append(name.removeprefix("ttnn."))):
        result = module.forward(*(on_mesh(mesh, value) for value in inputs), **named)
    result = result[0] if isinstance(result, (tuple, list)) else result
    return getattr(result, "ttnn_tensor", result), seen


def drawn(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        nn.init.normal_(parameter, 1.0 if parameter.dim() == 1 else 0.0, 0.2)
    return module.bfloat16().eval().requires_grad_(False)


def linear() -> tuple[Any, nn.Module]:
    torch_module = drawn(nn.Linear(64, 96))
    return modules("linear").TTNNLinear.from_torch(torch_module), torch_module


def linear_with_gelu() -> tuple[Any, nn.Module]:
    torch_module = drawn(nn.Linear(64, 96))
    made = modules("linear").TTNNLinearGelu.from_torch(torch_module)
    return made, nn.Sequential(torch_module, nn.GELU())


def layer_norm() -> tuple[Any, nn.Module]:
    torch_module = drawn(nn.LayerNorm(64))
    return modules("normalization").TTNNLayerNorm.from_torch(torch_module), torch_module


def rms_norm() -> tuple[Any, nn.Module]:
    torch_module = drawn(modules("normalization").DeepseekV2RMSNorm(64))
    return modules("normalization").TTNNRMSNorm.from_torch(torch_module), torch_module


def silu() -> tuple[Any, nn.Module]:
    return modules("activation").TTNNSilu(), nn.SiLU()


@pytest.mark.parametrize(
    ("make", "op"),
    [
        (linear, "linear"),
        (linear_with_gelu, "gelu"),
        (layer_norm, "layer_norm"),
        (rms_norm, "rms_norm"),
        (silu, "silu"),
    ],
)
def test_a_layer_is_its_torch_original(mesh: Mesh, make: Callable[[], tuple[Any, nn.Module]], op: str) -> None:
    module, original = make()
    x = torch.randn(1, 40, 64).bfloat16()
    got, ops = ran(mesh, module, x)
    assert op in ops
    want = original.float()(x.float())
    assert pcc(whole(got, want), want) > AGREES


@pytest.mark.parametrize("tokens", [32, 21])
def test_an_embedding_is_its_torch_original(mesh: Mesh, tokens: int) -> None:
    original = drawn(nn.Embedding(100, 64))
    ids = torch.randint(0, 100, (1, tokens))
    got, ops = ran(mesh, modules("embedding").TTNNBailingPaddedEmbedding.from_torch(original), ids)
    assert {"embedding", *(["pad", "slice"] if tokens == 21 else [])} <= set(ops)
    want = original(ids).float()
    assert torch.equal(whole(got, want), want)


@pytest.mark.parametrize("flash", [True, False])
def test_attention_is_its_torch_original(mesh: Mesh, flash: bool) -> None:
    module = modules("attention").TTNNSDPAAttention()
    module._sdpa_available = flash
    query, key, value = (torch.randn(1, 2, 64, 32).bfloat16() for _ in range(3))
    got, ops = ran(mesh, module, None, query, key, value, None, is_causal=True)
    assert ("transformer.scaled_dot_product_attention" if flash else "softmax") in ops
    want = functional.scaled_dot_product_attention(query.float(), key.float(), value.float(), is_causal=True)
    assert pcc(whole(got, want), want.transpose(1, 2)) > AGREES


def test_a_rotary_embedding_is_the_formula(mesh: Mesh) -> None:
    scaling = type("Scaling", (), {"attention_scaling": 1.25})()
    module = modules("embedding").TTNNRotaryEmbeddingCompute.from_torch(scaling)
    frequencies, positions = torch.rand(1, 16, 1).bfloat16(), torch.arange(32)[None]
    got, ops = ran(mesh, module, frequencies, positions)
    assert {"typecast", "cos", "sin"} <= set(ops)
    # Its matmul names no fidelity, and ttnn's default is HiFi2: 7 significant bits of a frequency are multiplied.
    taken = (frequencies.float().view(torch.int32) & -(1 << (24 - 7))).view(torch.float32)
    angles = (taken @ positions.float()[:, None]).mT.bfloat16().float()
    want = 1.25 * torch.cat([angles, angles], -1).cos()
    assert pcc(whole(got, want), want) > AGREES
