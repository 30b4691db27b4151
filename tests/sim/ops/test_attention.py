"""Flash attention against float64 softmax attention, user by user and head by head."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest
import torch
import ttnn
from hypothesis import given
from hypothesis import strategies as st

from ttfamily.core.layout.flash_programs import decode_flash, prefill_flash
from ttfamily.core.layout.programs import Programs
from ttfamily.core.mesh.placement import integers
from ttfamily.errors import SimulatorError
from ttfamily.testing.phases import significant
from ttfamily.testing.strategies import SEEDS

if TYPE_CHECKING:
    from ttfamily.testing.operands import Operand, Operands

ROWS = {"layout": ttnn.ROW_MAJOR_LAYOUT}
HEADS = st.sampled_from([(1, 1), (4, 2), (6, 3), (8, 1), (12, 12)])
DIMS = st.sampled_from([32, 64, 96])
SCALES = st.sampled_from([None, 0.3125])  # ttnn's chunked attention refuses a scale that is no float32
WINDOWS = st.sampled_from([None, None, 16, 48])
CACHES = st.sampled_from([ttnn.bfloat16, ttnn.bfloat8_b])
CUT = st.booleans()
# A score that another order of additions rounds to its neighbour changes its probability; rows of the first tokens,
# which average few values, spread more than the tensor as a whole.
ROUNDINGS = 6

prompt_attention = pytest.mark.kernel("ttnn.transformer.scaled_dot_product_attention")
chunked_attention = pytest.mark.kernel("ttnn.transformer.chunked_scaled_dot_product_attention")
decode_attention = pytest.mark.kernel("ttnn.transformer.paged_scaled_dot_product_attention_decode")


def attend(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, position: int, scale: float | None, window: int | None
) -> torch.Tensor:
    """One query, ``[E]``, at ``position``; keys and values ``[tokens, E]``: float64.

    As the chip has it in HiFi2: the last bit of queries and probabilities does not meet keys and values; scores and
    probabilities are bfloat16, and the probabilities' sum has all of their bits.
    """
    first = 0 if window is None else max(0, position + 1 - window)
    k, v = k[first : position + 1], v[first : position + 1]
    scores = (k @ significant(q, 7)).bfloat16().double()
    chances = ((scores - scores.max()) * (len(q) ** -0.5 if scale is None else scale)).exp().bfloat16().double()
    return significant(chances, 7) @ v / chances.sum()


def attend_prompt(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, start: int, scale: float | None, window: int | None
) -> torch.Tensor:
    """``[H, S, E]`` from position ``start`` on; keys and values ``[K, tokens, E]``."""
    out, group = torch.empty_like(q), len(q) // len(k)
    for h in range(len(q)):
        for s in range(q.shape[1]):
            out[h, s] = attend(q[h, s], k[h // group], v[h // group], start + s, scale, window)
    return out


@prompt_attention
@given(
    heads=HEADS,
    tokens=st.sampled_from([32, 64, 160]),
    dim=DIMS,
    scale=SCALES,
    window=WINDOWS,
    cuts=st.tuples(CUT, CUT),
    seed=SEEDS,
)
def test_a_prompt_attends_to_its_past(
    bench: Operands,
    heads: tuple[int, int],
    tokens: int,
    dim: int,
    scale: float | None,
    window: int | None,
    cuts: tuple[bool, bool],
    seed: int,
) -> None:
    bench.reseed(seed)
    q = bench.random(1, heads[0], tokens, dim, cut=1 if cuts[0] else None)
    k, v = (bench.random(1, heads[1], tokens, dim, cut=1 if cuts[1] else None) for _ in range(2))
    got = ttnn.transformer.scaled_dot_product_attention(
        q.tensor, k.tensor, v.tensor, is_causal=True, scale=scale, sliding_window_size=window,
        program_config=prefill_flash(Programs(bench.mesh), tokens, dim),
    )  # fmt: skip
    each = list(zip(q.local, k.local, v.local, strict=True))
    bench.check(got, [attend_prompt(a[0], b[0], c[0], 0, scale, window)[None] for a, b, c in each], ROUNDINGS)


@prompt_attention
@given(heads=HEADS, tokens=st.sampled_from([32, 160]), dim=DIMS, scale=SCALES, window=WINDOWS, seed=SEEDS)
def test_with_every_bit_a_prompt_agrees_with_ttnns_golden_function(
    bench: Operands, heads: tuple[int, int], tokens: int, dim: int, scale: float | None, window: int | None, seed: int
) -> None:
    bench.reseed(seed)
    # The golden function keeps scores in float32: small ones lose little as bfloat16.
    q = bench.random(1, heads[0], tokens, dim, scale=0.25)
    k, v = (bench.random(1, heads[1], tokens, dim) for _ in range(2))
    how = {"scale": scale, "sliding_window_size": window}
    got = ttnn.transformer.scaled_dot_product_attention(
        q.tensor, k.tensor, v.tensor, is_causal=True,
        program_config=prefill_flash(Programs(bench.mesh), tokens, dim),
        compute_kernel_config=ttnn.WormholeComputeKernelConfig(math_fidelity=ttnn.MathFidelity.HiFi4), **how,
    )  # fmt: skip
    golden = ttnn.get_golden_function(ttnn.transformer.scaled_dot_product_attention)
    each = zip(q.local, k.local, v.local, strict=True)
    bench.check(got, [golden(*(t.float() for t in parts), **how) for parts in each], ROUNDINGS)


@attrs.frozen
class Cache:
    """Keys and values in blocks of 32 tokens, and the page table of all users."""

    keys: Operand
    values: Operand
    table: torch.Tensor

    @classmethod
    def random(cls, bench: Operands, heads: int, dim: int, users: int, pages: int, **placed: object) -> Cache:
        keys, values = (bench.random(users * pages + 1, heads, 32, dim, **placed) for _ in range(2))
        order = 1 + torch.randperm(users * pages, generator=bench.numbers)
        return cls(keys, values, order.reshape(users, pages).int())  # block 0 has no owner

    def of_user(self, device: int, user: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of one user, ``[K, tokens, E]`` each."""
        blocks = self.table[user].long()
        return tuple(torch.cat(list(side.local[device][blocks]), 1) for side in (self.keys, self.values))

    def put(self, bench: Operands, lengths: torch.Tensor | None = None, *, step: int = 1) -> ttnn.Tensor:
        """The page table on the mesh.

        :param step: pages that its width is a multiple of; those after the last token's name block 0.

        :param lengths: every user's tokens; pages after them name block 0, as the core has it.
        """
        table = self.table.clone()
        if lengths is not None:
            for user, tokens in enumerate(lengths.tolist()):
                table[user, -(-tokens // 32) :] = 0
        table = torch.nn.functional.pad(table, (0, -table.shape[1] % step))
        return bench.put(table, dtype=ttnn.int32, **ROWS).tensor


@chunked_attention
@given(
    heads=HEADS,
    tokens=st.sampled_from([32, 64]),
    chunks=st.integers(1, 3),
    dim=DIMS,
    scale=SCALES,
    window=WINDOWS,
    dtype=CACHES,
    cuts=st.tuples(CUT, CUT),
    on_device=st.booleans(),
    seed=SEEDS,
)
def test_a_later_chunk_attends_to_the_cache(
    bench: Operands,
    heads: tuple[int, int],
    tokens: int,
    chunks: int,
    dim: int,
    scale: float | None,
    window: int | None,
    dtype: ttnn.DataType,
    cuts: tuple[bool, bool],
    on_device: bool,
    seed: int,
) -> None:
    bench.reseed(seed)
    start = tokens * chunks
    q = bench.random(1, heads[0], tokens, dim, cut=1 if cuts[0] else None)
    pages = (start + tokens) // 32
    limited = {} if window is None else {"sliding_window_size": window}
    cache = Cache.random(bench, heads[1], dim, 1, pages, cut=1 if cuts[1] else None, dtype=dtype)
    where = {"chunk_start_idx": start}
    if on_device:
        where = {"chunk_start_idx_tensor": integers(bench.mesh, torch.tensor([start], dtype=torch.int32), ttnn.int32)}
    got = ttnn.transformer.chunked_scaled_dot_product_attention(
        q.tensor, cache.keys.tensor, cache.values.tensor, cache.put(bench, step=8), **where,
        scale=scale, program_config=prefill_flash(Programs(bench.mesh), tokens, dim), **limited,
    )  # fmt: skip
    want = [
        attend_prompt(part[0], *cache.of_user(device, 0), start, scale, window)[None]
        for device, part in enumerate(q.local)
    ]
    bench.check(got, want, ROUNDINGS)


@decode_attention
@given(
    users=st.sampled_from([1, 3, 8, 32]),
    heads=HEADS,
    dim=DIMS,
    pages=st.sampled_from([1, 3, 8]),
    scale=SCALES,
    window=WINDOWS,
    dtype=CACHES,
    empty=st.booleans(),
    cuts=st.tuples(CUT, CUT),
    seed=SEEDS,
)
def test_every_user_of_a_step_attends_up_to_its_position_and_an_empty_slot_gives_nan(
    bench: Operands,
    users: int,
    heads: tuple[int, int],
    dim: int,
    pages: int,
    scale: float | None,
    window: int | None,
    dtype: ttnn.DataType,
    empty: bool,
    cuts: tuple[bool, bool],
    seed: int,
) -> None:
    bench.reseed(seed)
    programs = Programs(bench.mesh)
    memory = programs.user_sharded(users, heads[0], dim)
    q = bench.random(1, users, heads[0], dim, cut=2 if cuts[0] else None, memory_config=memory)
    cache = Cache.random(bench, heads[1], dim, users, pages, cut=1 if cuts[1] else None, dtype=dtype)
    positions = torch.randint(0, 32 * pages, (users,), generator=bench.numbers).int()
    if empty:
        positions[::3] = -1
    got = ttnn.transformer.paged_scaled_dot_product_attention_decode(
        q.tensor,
        cache.keys.tensor,
        cache.values.tensor,
        cur_pos_tensor=bench.put(positions, dtype=ttnn.int32, **ROWS).tensor,
        page_table_tensor=cache.put(bench, positions + 1),
        scale=scale,
        sliding_window_size=window,
        program_config=flash_decode(programs, keys=32 * pages, heads=heads[0], head_dim=dim, users=users),
        memory_config=ttnn.L1_MEMORY_CONFIG,
    )
    want = []
    for device, part in enumerate(q.local):
        out = torch.full_like(part, torch.nan)
        for user, position in enumerate(positions.tolist()):
            if position >= 0:
                k, v = cache.of_user(device, user)
                out[0, user] = attend_prompt(part[0, user, :, None], k, v, position, scale, window)[:, 0]
        want.append(out)
    bench.check(got, want, ROUNDINGS)


def flash_decode(programs: Programs, **sizes: int) -> ttnn.SDPAProgramConfig:
    return decode_flash(programs, "test", live_tiles=0, **sizes)


@attrs.frozen
class OneUser:
    """One user at position 5 of a cache of 64 tokens, read in chunks of 32."""

    bench: Operands
    keys: torch.Tensor
    values: torch.Tensor

    def decode(self, pages: list[int], chunk: int = 32) -> torch.Tensor:
        bench = self.bench
        programs = Programs(bench.mesh)
        q = bench.put(torch.ones(1, 1, 1, 32), memory_config=programs.user_sharded(1, 1, 32))
        out = ttnn.transformer.paged_scaled_dot_product_attention_decode(
            q.tensor,
            bench.put(self.keys).tensor,
            bench.put(self.values).tensor,
            cur_pos_tensor=bench.put(torch.tensor([5], dtype=torch.int32), dtype=ttnn.int32, **ROWS).tensor,
            page_table_tensor=bench.put(torch.tensor([pages], dtype=torch.int32), dtype=ttnn.int32, **ROWS).tensor,
            program_config=flash_decode(programs, keys=chunk, heads=1, head_dim=32, users=1),
        )
        return bench.read(out)[0].flatten()


@pytest.fixture
def user(bench: Operands) -> OneUser:
    bench.reseed(0)
    return OneUser(bench, *(torch.randn(2, 1, 32, 32, generator=bench.numbers) for _ in range(2)))


@decode_attention
@pytest.mark.parametrize("side", ["keys", "values"])
def test_nan_after_the_position_spoils_a_step_as_it_does_on_the_chip(user: OneUser, side: str) -> None:
    clean = user.decode([1, 0])
    assert clean.isfinite().all()
    tensor = getattr(user, side)
    tensor[0] = torch.nan  # the other page: after the chunk that is read
    assert torch.equal(user.decode([1, 0]), clean)
    tensor[1, 0, 9] = torch.nan  # this page, after the position: masked with an addition, so it is not hidden
    assert user.decode([1, 0]).isnan().all()


@decode_attention
def test_a_page_that_is_read_ahead_must_name_a_block(user: OneUser) -> None:
    clean = user.decode([1, -1])  # the second page lies after the chunk
    assert torch.equal(user.decode([1, 0], chunk=64), clean)
    with pytest.raises(SimulatorError, match=r"page table entries \[-1\] where 2 blocks are"):
        user.decode([1, -1], chunk=64)
    with pytest.raises(SimulatorError, match=r"page table entries \[2\] where 2 blocks are"):
        user.decode([2, 0])


@prompt_attention
def test_attention_without_a_mask_is_refused(bench: Operands) -> None:
    x = bench.random(1, 1, 32, 32).tensor
    with pytest.raises(SimulatorError, match="is_causal=False"):
        ttnn.transformer.scaled_dot_product_attention(x, x, x, is_causal=False)
