"""Blocks beside Llama's, against torch's own: the plain MLP, the layer norm, and norms of a stream that is cut."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from ttfamily.core.blocks.decoder import stream_tiles
from ttfamily.core.blocks.mlp import MLPS
from ttfamily.core.blocks.norm import Norm
from ttfamily.core.config.spec import AttentionSpec, MlpSpec, ModelSpec, NormSpec, RopeSpec
from ttfamily.core.mesh.mesh import open_mesh
from ttfamily.core.weights.checkpoint import SINGLE, Checkpoint
from ttfamily.core.weights.rules import column, replicated, row
from ttfamily.core.weights.weights import Weights
from ttfamily.family import Family
from ttfamily.testing import strategies
from ttfamily.testing.bench import activations, plan_of, put_decode, put_prefill, read_stream, read_sum
from ttfamily.testing.correlation import assert_pcc
from ttfamily.testing.models import fill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ttfamily.core.layout.plan import Plan
    from ttfamily.core.layout.schemes import Scheme
    from ttfamily.core.mesh.mesh import Mesh

SPEC = ModelSpec(
    vocab_size=96,
    hidden_size=64,
    num_hidden_layers=1,
    max_position_embeddings=1024,
    tie_word_embeddings=False,
    norm=NormSpec(kind="layer", eps=1e-5),
    attention=AttentionSpec(
        num_attention_heads=2, num_key_value_heads=2, head_dim=32, qkv_bias=False, out_bias=False, scale=32**-0.5
    ),
    rope=RopeSpec(theta=10000.0, rotary_dim=32),
    mlp=MlpSpec(kind="plain", intermediate_size=64, activation="gelu", bias=False),
)
FAMILY = Family(
    name="plain",
    architectures=("Plain",),
    spec=lambda _: SPEC,
    weights={
        "layer.mlp.up": column("layers.{layer}.up"),
        "layer.mlp.down": row("layers.{layer}.down"),
        "norm": replicated("norm"),
    },
)
ACTIVATIONS = {"gelu": nn.GELU(), "gelu_tanh": nn.GELU("tanh"), "relu": nn.ReLU(), "silu": nn.SiLU()}


class Plain(nn.Module):
    """A feed-forward layer and a norm, named as :data:`FAMILY` names them."""

    def __init__(self, hidden: int, wide: int, activation: str, *, bias: bool) -> None:
        super().__init__()
        up, down = nn.Linear(hidden, wide, bias=bias), nn.Linear(wide, hidden, bias=bias)
        self.layers = nn.ModuleList([nn.ModuleDict({"up": up, "down": down})])
        self.norm = nn.LayerNorm(hidden, eps=SPEC.norm.eps, bias=bias)
        self.activation = ACTIVATIONS[activation]

    def mlp(self, x: torch.Tensor) -> torch.Tensor:
        layer = self.layers[0]
        return layer["down"](self.activation(layer["up"](x)))


@contextmanager
def weights_of(module: nn.Module, spec: ModelSpec, seed: int) -> Iterator[Weights]:
    """Fill a module with random weights and open them as a checkpoint."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.requires_grad_(requires_grad=False).named_parameters():
        fill(name, parameter, generator)
    with tempfile.TemporaryDirectory() as folder:
        save_file({name: t.bfloat16() for name, t in module.state_dict().items()}, Path(folder) / SINGLE)
        with Checkpoint.open(folder) as checkpoint:
            yield Weights(checkpoint, FAMILY, spec)


def compare_both_phases(
    plan: Plan,
    block: Any,
    module: Callable[[torch.Tensor], torch.Tensor],
    tokens: int,
    seed: int,
    read: Any,
    at_least: float = 0.999,
) -> None:
    stream = read is read_stream
    x = activations(tokens, plan.spec.hidden_size, seed)
    got = read(plan, block.prefill(put_prefill(plan, x, stream=stream)), tokens, "prefill")
    assert_pcc(got, module(x), at_least)
    users = plan.slots_per_replica
    x = activations(users, plan.spec.hidden_size, seed + 1)
    got = read(plan, block.decode(put_decode(plan, x, stream=stream)), users, "decode")
    assert_pcc(got, module(x), at_least)


HIDDEN = strategies.multiples(64, 256, 4096)
USERS = strategies.mostly_small(1, 4, 32)
TOKENS = strategies.lengths(512)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@strategies.examples(10)
@given(
    hidden=HIDDEN, wide=strategies.mostly_small(33, 512, 4096), bias=st.booleans(), seed=strategies.SEEDS, users=USERS,
    tokens=TOKENS,
)  # fmt: skip
def test_plain_mlp(
    mesh: Mesh, activation: str, hidden: int, wide: int, bias: bool, seed: int, users: int, tokens: int
) -> None:
    mlp = MlpSpec(kind="plain", intermediate_size=wide, activation=activation, bias=bias)
    spec = attrs.evolve(SPEC, hidden_size=hidden, mlp=mlp)
    module = Plain(hidden, wide, activation, bias=bias)
    plan = plan_of(spec, mesh, max_batch_size=users)
    with weights_of(module, spec, seed) as weights:
        block = MLPS["plain"](plan, 0, stream_tiles(plan))
        block.load(weights)
        compare_both_phases(plan, block, module.mlp, tokens, seed, read_sum)


@pytest.mark.parametrize("bias", [False, True])
@strategies.examples(15)
@given(hidden=HIDDEN, seed=strategies.SEEDS, users=USERS, tokens=TOKENS)
def test_layer_norm(mesh: Mesh, bias: bool, hidden: int, seed: int, users: int, tokens: int) -> None:
    spec = attrs.evolve(SPEC, hidden_size=hidden, norm=attrs.evolve(SPEC.norm, bias=bias))
    module = Plain(hidden, 32, "relu", bias=bias)
    plan = plan_of(spec, mesh, max_batch_size=users)
    with weights_of(module, spec, seed) as weights:
        block = Norm(plan, "norm")
        block.load(weights)
        compare_both_phases(plan, block, module.norm, tokens, seed, read_stream)


# Tiles of a device's part: a prime number goes over one core; 128 leave ttnn's layer norm no room for its bias.
@pytest.mark.parametrize("tiles", [1, 8, 71, 128])
@pytest.mark.parametrize("kind", ["rms", "layer", "layer, bias"])
@pytest.mark.parametrize(
    ("name", "scheme"), [("n300", "fractured"), ("t3k", "fractured"), ("2x4", None), ("4x8", None)]
)
def test_a_norm_over_the_parts_of_all_devices(name: str, scheme: Scheme | None, kind: str, tiles: int) -> None:
    mesh = open_mesh(name, "simulated")
    try:
        hidden = 32 * tiles * (mesh.tensor_parallel if scheme else mesh.hidden_parallel)
        bias, eps = kind.endswith("bias"), SPEC.norm.eps
        norm = nn.RMSNorm(hidden, eps=eps) if kind == "rms" else nn.LayerNorm(hidden, eps=eps, bias=bias)
        norm_spec = NormSpec(kind="rms" if kind == "rms" else "layer", eps=eps, bias=bias)
        spec = attrs.evolve(SPEC, hidden_size=hidden, norm=norm_spec)
        plan = plan_of(spec, mesh, max_batch_size=5, scheme=scheme)
        with weights_of(nn.ModuleDict({"norm": norm}), spec, tiles) as weights:
            block = Norm(plan, "norm")
            block.load(weights)
        compare_both_phases(plan, block, norm, 70, 1, read_stream, at_least=0.9995)
        normed = block.decode(put_decode(plan, activations(5, hidden, 2), stream=True))
        assert normed.memory_config() == plan.decode.normed
    finally:
        mesh.close()
