"""Splitting and merging heads against plain loops; the rotary embedding against Hugging Face's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pytest
import torch
import ttnn
from hypothesis import given
from hypothesis import strategies as st
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from ttfamily.core.blocks.flash import HEIGHT_SHARDED
from ttfamily.core.blocks.rope import interleave, pair_swap
from ttfamily.core.layout.programs import Programs
from ttfamily.testing.operands import assert_rounded
from ttfamily.testing.strategies import SEEDS

if TYPE_CHECKING:
    from ttfamily.testing.operands import Operands


@attrs.frozen
class Heads:
    query: int
    kv: int
    dim: int

    @property
    def width(self) -> int:
        return (self.query + 2 * self.kv) * self.dim

    @property
    def arguments(self) -> dict[str, int]:
        return {"num_heads": self.query, "num_kv_heads": self.kv}

    def places(self) -> list[tuple[int, int]]:
        """(first head, heads) of the query, the key and the value, in the order of the fused columns."""
        return [(0, self.query), (self.query, self.kv), (self.query + self.kv, self.kv)]


HEADS = st.sampled_from([Heads(1, 1, 32), Heads(4, 2, 64), Heads(6, 3, 32), Heads(8, 1, 96), Heads(40, 8, 32)])
USERS = st.sampled_from([1, 3, 8, 16, 32])  # the kernels take rectangles of cores for granted
TOKENS = st.sampled_from([32, 96])
CUT = st.booleans()


@pytest.mark.kernel("ttnn.experimental.nlp_create_qkv_heads")
@given(heads=HEADS, tokens=TOKENS, cut=CUT, transposed=st.booleans(), seed=SEEDS)
def test_a_prompt_is_split_into_heads(
    bench: Operands, heads: Heads, tokens: int, cut: bool, transposed: bool, seed: int
) -> None:
    bench.reseed(seed)
    x = bench.random(1, 1, tokens, heads.width, cut=3 if cut else None)
    got = ttnn.experimental.nlp_create_qkv_heads(x.tensor, **heads.arguments, transpose_k_heads=transposed)
    for part, (first, count), flip in zip(got, heads.places(), (False, transposed, False), strict=True):
        want = []
        for local in x.local:
            out = torch.empty(1, count, tokens, heads.dim, dtype=torch.float64)
            for h in range(count):
                out[0, h] = local[0, 0, :, (first + h) * heads.dim : (first + h + 1) * heads.dim]
            want.append(out.mT if flip else out)
        bench.check(part, want, roundings=0)


@pytest.mark.kernel("ttnn.experimental.nlp_create_qkv_heads_decode")
@given(heads=HEADS.filter(lambda h: h.query <= 32), users=USERS, cut=CUT, seed=SEEDS)
def test_a_step_is_split_into_heads(bench: Operands, heads: Heads, users: int, cut: bool, seed: int) -> None:
    bench.reseed(seed)
    programs = Programs(bench.mesh)
    memory = programs.width_sharded(heads.width, programs.cores_of(heads.width))
    x = bench.random(1, 1, users, heads.width, cut=3 if cut else None, memory_config=memory)
    got = ttnn.experimental.nlp_create_qkv_heads_decode(x.tensor, **heads.arguments, memory_config=HEIGHT_SHARDED)
    for part, (first, count) in zip(got, heads.places(), strict=True):
        want = []
        for local in x.local:
            out = torch.empty(1, users, count, heads.dim, dtype=torch.float64)
            for u in range(users):
                for h in range(count):
                    out[0, u, h] = local[0, 0, u, (first + h) * heads.dim : (first + h + 1) * heads.dim]
            want.append(out)
        bench.check(part, want, roundings=0)


@pytest.mark.kernel("ttnn.experimental.nlp_concat_heads")
@given(heads=HEADS, tokens=TOKENS, cut=CUT, seed=SEEDS)
def test_heads_of_a_prompt_are_merged(bench: Operands, heads: Heads, tokens: int, cut: bool, seed: int) -> None:
    bench.reseed(seed)
    x = bench.random(1, heads.query, tokens, heads.dim, cut=1 if cut else None)
    want = [torch.cat([local[:, h] for h in range(heads.query)], -1)[:, None] for local in x.local]
    bench.check(ttnn.experimental.nlp_concat_heads(x.tensor), want, roundings=0)


@pytest.mark.kernel("ttnn.experimental.nlp_concat_heads_decode")
@given(heads=HEADS.filter(lambda h: h.query <= 32), users=USERS, cut=CUT, seed=SEEDS)
def test_heads_of_a_step_are_merged_and_rows_without_a_user_are_nan(
    bench: Operands, heads: Heads, users: int, cut: bool, seed: int
) -> None:
    bench.reseed(seed)
    memory = Programs(bench.mesh).user_sharded(users, heads.query, heads.dim)
    x = bench.random(1, users, heads.query, heads.dim, cut=2 if cut else None, memory_config=memory)
    got = ttnn.experimental.nlp_concat_heads_decode(x.tensor, num_heads=heads.query)
    want = []
    for local in x.local:
        out = torch.full((1, 1, 32, heads.query * heads.dim), torch.nan, dtype=torch.float64)
        for u in range(users):
            out[0, 0, u] = torch.cat([local[0, u, h] for h in range(heads.query)])
        want.append(out)
    bench.check(got, want, roundings=0)


def angles(bench: Operands, positions: int, rotary: int, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random cosines and sines in Hugging Face's order, ``[positions, dim]``: the rest of a head is not turned."""
    theta = 6.3 * torch.rand(positions, rotary // 2, generator=bench.numbers)
    cos = torch.cat([theta.cos(), theta.cos(), torch.ones(positions, dim - rotary)], -1)
    sin = torch.cat([theta.sin(), theta.sin(), torch.zeros(positions, dim - rotary)], -1)
    return cos.bfloat16(), sin.bfloat16()


def pairs(x: torch.Tensor, rotary: int) -> torch.Tensor:
    """Reorder the last dimension of any tensor: rotated pairs become neighbours."""
    return interleave(x.movedim(-1, 0), x.shape[-1], rotary).movedim(0, -1)


def hugging_face(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, rotary: int) -> torch.Tensor:
    """Turn ``[1, heads, positions, dim]``, in Hugging Face's order."""
    turned, _ = apply_rotary_pos_emb(x[..., :rotary], x[..., :rotary], cos[None, :, :rotary], sin[None, :, :rotary])
    return torch.cat([turned, x[..., rotary:]], -1)


DIMS = st.sampled_from([(32, 32), (64, 64), (64, 48), (96, 20), (128, 128)])
rotary_embedding = pytest.mark.kernel("ttnn.experimental.rotary_embedding_llama")


@rotary_embedding
@given(dims=DIMS, heads=st.sampled_from([1, 3, 8]), tokens=TOKENS, cut=CUT, seed=SEEDS)
def test_a_prompt_is_turned_as_hugging_face_turns_it(
    bench: Operands, dims: tuple[int, int], heads: int, tokens: int, cut: bool, seed: int
) -> None:
    bench.reseed(seed)
    dim, rotary = dims
    cos, sin = angles(bench, tokens, rotary, dim)
    x = bench.random(1, heads, tokens, dim, cut=1 if cut else None)
    arguments = [bench.put(pairs(t, rotary)[None, None]).tensor for t in (cos, sin)]
    got = ttnn.experimental.rotary_embedding_llama(
        x.tensor, *arguments, bench.put(pair_swap()).tensor, is_decode_mode=False
    )
    check_turned(bench, got, [hugging_face(unpaired(part, rotary), cos, sin, rotary) for part in x.local], rotary)


@rotary_embedding
@given(dims=DIMS, heads=st.sampled_from([1, 3, 8]), users=USERS, cut=CUT, seed=SEEDS)
def test_every_user_of_a_step_is_turned_by_its_own_angle(
    bench: Operands, dims: tuple[int, int], heads: int, users: int, cut: bool, seed: int
) -> None:
    bench.reseed(seed)
    dim, rotary = dims
    programs = Programs(bench.mesh)
    cos, sin = angles(bench, users, rotary, dim)
    shard = programs.user_sharded(users, 32, dim)
    x = bench.random(1, users, heads, dim, cut=2 if cut else None, memory_config=shard)
    arguments = [bench.put(pairs(t, rotary)[None, :, None], memory_config=shard).tensor for t in (cos, sin)]
    swap = bench.put(pair_swap().repeat(1, 1, users, 1), memory_config=programs.user_sharded(users, 32, 32))
    got = ttnn.experimental.rotary_embedding_llama(x.tensor, *arguments, swap.tensor, is_decode_mode=True)
    want = []
    for part in x.local:
        theirs = unpaired(part, rotary)
        turned = [hugging_face(theirs[:, u, :, None], cos[u : u + 1], sin[u : u + 1], rotary) for u in range(users)]
        want.append(torch.stack([t[:, :, 0] for t in turned], 1))
    check_turned(bench, got, want, rotary)


def unpaired(x: torch.Tensor, rotary: int) -> torch.Tensor:
    """Undo :func:`pairs`: a device's head in Hugging Face's order."""
    turned = x[..., :rotary]
    return torch.cat([turned[..., 0::2], turned[..., 1::2], x[..., rotary:]], -1)


def check_turned(bench: Operands, got: Any, want: list[torch.Tensor], rotary: int) -> None:
    for part, wanted in zip(bench.read(got), want, strict=True):
        assert_rounded(unpaired(part, rotary), wanted)
