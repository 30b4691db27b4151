"""What an op reads and writes, against counts made independently."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
import ttnn
from hypothesis import given
from hypothesis import strategies as st

from ttfamily.core.layout.programs import Programs
from ttfamily.core.mesh.mesh import open_mesh
from ttfamily.core.mesh.placement import put
from ttfamily.planning.inventory import Held
from ttfamily.planning.stream import record
from ttfamily.planning.traffic import Roles, op_traffic
from ttfamily.sim.facts import Op, TensorFacts, facts
from ttfamily.sim.ops.cache import token_tiles
from ttfamily.sim.row import DecodePoint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ttfamily.core.mesh.mesh import Mesh

TILE_BYTES = {ttnn.bfloat16: 2048, ttnn.bfloat8_b: 1088, ttnn.bfloat4_b: 576}


@pytest.fixture(scope="module")
def dry() -> Iterator[Mesh]:
    opened = open_mesh("n300", "dry")
    yield opened
    opened.close()


def tensor(*shape: int, size: int, memory: str = "dram_interleaved", buffer: int = 0, dtype: str = "BFLOAT16") -> Any:
    return TensorFacts(
        shape=shape, dtype=dtype, layout="tile", memory=memory, bytes=size, held=size, cores=0, buffer=buffer
    )


@given(
    st.tuples(st.integers(1, 3), st.integers(1, 100), st.integers(1, 300)),
    st.sampled_from([ttnn.bfloat16, ttnn.bfloat8_b, ttnn.bfloat4_b]),
)
def test_a_tiled_tensor_has_the_bytes_of_its_tiles_and_holds_what_the_allocator_says(
    dry: Mesh, shape: tuple[int, int, int], dtype: ttnn.DataType
) -> None:
    before = dry.dram_bytes()[0]
    one = ttnn.allocate_tensor_on_device(
        ttnn.Shape([1, *shape]), dtype, ttnn.TILE_LAYOUT, dry.device, ttnn.DRAM_MEMORY_CONFIG
    )
    found = facts(one, dry.dram_banks)
    batch, rows, columns = shape
    assert found.bytes == batch * -(-rows // 32) * -(-columns // 32) * TILE_BYTES[dtype]
    assert found.held == dry.dram_bytes()[0] - before


@given(st.integers(1, 40), st.integers(1, 60), st.sampled_from([ttnn.bfloat16, ttnn.bfloat8_b, ttnn.bfloat4_b]))
def test_a_weight_over_the_banks_has_the_bytes_of_its_padded_tiles(
    dry: Mesh, k: int, n: int, dtype: ttnn.DataType
) -> None:
    before = dry.dram_bytes()[0]
    memory = Programs(dry).bank_sharded(32 * k, 32 * n)
    weight = put(dry, torch.empty(1, 1, 32 * k, 32 * n, device="meta"), dtype=dtype, memory_config=memory)
    found = facts(weight, dry.dram_banks)
    assert found.bytes == k * -(-n // 12) * 12 * TILE_BYTES[dtype]
    assert found.memory == "dram_sharded"
    assert found.held == found.bytes == dry.dram_bytes()[0] - before


@given(st.integers(1, 4), st.integers(1, 20), st.integers(1, 20), st.integers(1, 20))
def test_a_matmul_reads_its_weight_once_a_fold_and_writes_its_output(
    dry: Mesh, folds: int, rows: int, k: int, n: int
) -> None:
    def zeros(*shape: int) -> ttnn.Tensor:
        return ttnn.zeros(shape, dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=dry.device)

    x, weight = zeros(1, folds, 32 * rows, 32 * k), zeros(1, 1, 32 * k, 32 * n)
    stream = record(dry, lambda: ttnn.linear(x, weight, memory_config=ttnn.DRAM_MEMORY_CONFIG))
    (op,) = stream.ops
    roles = Roles([Held(slot="mlp.up", tensor=facts(weight, dry.dram_banks))])
    traffic = op_traffic(op, roles)
    assert traffic.weights == 2 * folds * 32 * k * 32 * n
    assert traffic.activations == 2 * folds * 32 * rows * 32 * k
    assert traffic.written == 2 * folds * 32 * rows * 32 * n


@given(
    position=st.integers(0, 4000),
    chunk=st.sampled_from([32, 64, 128, 256]),
    window=st.none() | st.integers(1, 3000),
    users=st.integers(1, 32),
    heads=st.integers(1, 8),
    block_tiles=st.sampled_from([1, 2, 4]),
)
def test_flash_decode_reads_every_chunk_that_holds_a_visible_token(
    position: int, chunk: int, window: int | None, users: int, heads: int, block_tiles: int
) -> None:
    block = heads * 2 * 1088  # 32 tokens at head_dim 64, BFP8
    size = 1000 * block_tiles * block
    cache = tensor(1000, heads, 32 * block_tiles, 64, size=size, buffer=7, dtype="BFLOAT8_B")
    assert token_tiles(cache) == block
    op = Op(
        name="transformer.paged_scaled_dot_product_attention_decode",
        inputs={"0": tensor(1, users, 32, 64, size=1, memory="l1"), "1": cache, "2": cache},
        outputs=(),
        config={"k_chunk_size": chunk},
        settings={} if window is None else {"sliding_window_size": window},
    )
    visible = range(0 if window is None else max(0, position + 1 - window), position + 1)
    chunks = {token // chunk for token in (visible[0], visible[-1])}
    count = max(chunks) - min(chunks) + 1
    roles = Roles([Held(slot="kv_cache", tensor=cache)])
    traffic = op_traffic(op, roles, DecodePoint(users=users, position=position))
    assert traffic.cache == 2 * users * count * (chunk // 32) * block
    assert traffic.weights == traffic.written == 0


def test_an_embedding_reads_only_the_rows_that_it_looks_up() -> None:
    table = tensor(1, 1, 1000, 64, size=128_000, buffer=3)
    tokens = tensor(1, 5, size=20, buffer=4)
    out = tensor(1, 5, 64, size=4096, buffer=5)
    op = Op(name="embedding", inputs={"0": tokens, "1": table}, outputs=(out,))
    traffic = op_traffic(op, Roles([Held(slot="embedding", tensor=table)]))
    assert (traffic.weights, traffic.activations, traffic.written) == (5 * 128, 20, 4096)


def test_nothing_in_l1_is_traffic() -> None:
    inside = tensor(1, 1, 32, 64, size=4096, memory="l1", buffer=1)
    op = Op(name="add", inputs={"0": inside, "1": inside}, outputs=(inside,))
    assert op_traffic(op, Roles([])).total == 0
