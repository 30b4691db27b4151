"""Norms of a stream that is cut over devices, by gathered statistics, against torch's own."""

from __future__ import annotations

import tempfile
from pathlib import Path

import attrs
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ttfamily.core.checkpoint import SINGLE, Checkpoint
from ttfamily.core.mesh import open_mesh
from ttfamily.core.norm import Norm
from ttfamily.core.spec import AttentionSpec, MlpSpec, ModelSpec, NormSpec, RopeSpec
from ttfamily.core.weights import Weights, replicated
from ttfamily.family import Family
from ttfamily.testing.blocks import activations, plan_of, put_decode, put_prefill, read_stream
from ttfamily.testing.models import fill
from ttfamily.testing.pcc import assert_pcc

EPS = 1e-5
SPEC = ModelSpec(
    vocab_size=96,
    hidden_size=64,
    num_hidden_layers=1,
    max_position_embeddings=1024,
    tie_word_embeddings=False,
    norm=NormSpec(kind="rms", eps=EPS),
    attention=AttentionSpec(
        num_attention_heads=2, num_key_value_heads=2, head_dim=32, qkv_bias=False, out_bias=False, scale=32**-0.5
    ),
    rope=RopeSpec(theta=10000.0, rotary_dim=32),
    mlp=MlpSpec(kind="plain", intermediate_size=64, activation="gelu", bias=False),
)
FAMILY = Family(name="norms", architectures=("Norms",), spec=lambda _: SPEC, weights={"norm": replicated("norm")})
TOKENS, USERS = 70, 5
# Tiles of a device's part: a prime number goes over one core; 128 leave ttnn's layer norm no room for its bias.
WIDTHS = (1, 8, 71, 128)
MESHES = (("n300", "fractured"), ("t3k", "fractured"), ("2x4", None), ("4x8", None))


@pytest.mark.parametrize("tiles", WIDTHS)
@pytest.mark.parametrize("kind", ["rms", "layer", "layer, bias"])
@pytest.mark.parametrize(("name", "scheme"), MESHES)
def test_a_norm_over_the_parts_of_all_devices(name: str, scheme: str | None, kind: str, tiles: int) -> None:
    mesh = open_mesh(name, "simulated")
    try:
        hidden = 32 * tiles * (mesh.tensor_parallel if scheme else mesh.hidden_parallel)
        bias = kind.endswith("bias")
        norm = NormSpec(kind="rms" if kind == "rms" else "layer", eps=EPS, bias=bias)
        module = nn.RMSNorm(hidden, eps=EPS) if kind == "rms" else nn.LayerNorm(hidden, eps=EPS, bias=bias)
        generator = torch.Generator().manual_seed(tiles)
        for parameter_name, parameter in module.requires_grad_(requires_grad=False).named_parameters():
            fill(f"norm.{parameter_name}", parameter, generator)
        spec = attrs.evolve(SPEC, hidden_size=hidden, norm=norm)
        plan = plan_of(spec, mesh, max_batch_size=USERS, scheme=scheme)  # type: ignore[arg-type]
        with tempfile.TemporaryDirectory() as folder:
            save_file({f"norm.{key}": t.bfloat16() for key, t in module.state_dict().items()}, Path(folder) / SINGLE)
            with Checkpoint.open(folder) as checkpoint:
                block = Norm(plan, Weights(checkpoint, FAMILY, spec), "norm")
        x = activations(TOKENS, hidden, 1)
        got = read_stream(plan, block.prefill(put_prefill(plan, x, stream=True)), TOKENS, "prefill")
        assert_pcc(got, module(x), 0.9995)
        x = activations(USERS, hidden, 2)
        out = block.decode(put_decode(plan, x, stream=True))
        assert out.memory_config() == plan.normed_memory
        assert_pcc(read_stream(plan, out, USERS, "decode"), module(x), 0.9995)
    finally:
        mesh.close()
