"""What a plan says of L1 is what ttnn's allocator and its programs say."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import torch
import ttnn

from ttfamily.core.config.precision import WeightPrecision, ttnn_dtype
from ttfamily.core.layout.flash_programs import attention_buffers
from ttfamily.core.layout.programs import Programs
from ttfamily.core.mesh.mesh import open_mesh
from ttfamily.core.mesh.placement import put
from ttfamily.planning.stream import record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ttfamily.core.mesh.mesh import Mesh

BF16_TILE_BYTES = 2048
CLASH = re.compile(r"L1 buffer allocated at (\d+) and static \w+ buffer region ends at (\d+)")


@pytest.fixture
def dry() -> Iterator[Mesh]:
    mesh = open_mesh("n150", "dry")
    yield mesh
    mesh.close()


def empty(mesh: Mesh, *shape: int, dtype: ttnn.DataType = ttnn.bfloat16, **options: Any) -> ttnn.Tensor:
    return put(mesh, torch.empty(shape, device="meta"), dtype=dtype, **options)


@pytest.mark.parametrize("phase", ["decode", "prefill"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("format_", ["bfp4", "bfp8", "bf16"])
@pytest.mark.parametrize(("k", "n"), [(512, 1024), (4096, 6144), (4096, 14336), (1792, 4096), (2048, 992)])
def test_a_matmuls_buffers_end_where_ttnn_says(dry: Mesh, k: int, n: int, format_: str, bias: bool, phase: str) -> None:
    programs, precision = Programs(dry), WeightPrecision(format_)
    weight = empty(dry, 1, 1, k, n, dtype=ttnn_dtype(format_), memory_config=programs.bank_sharded(k, n))
    options: dict[str, Any] = {}
    if phase == "decode":
        options = programs.decode_matmul("test", k, n, precision, live_tiles=0)
        x = ttnn.to_memory_config(empty(dry, 1, 1, 32, k), programs.spread_out(k))
        shift = {"memory_config": programs.bank_sharded(32, n)}
    else:
        fold, options = programs.prefill_matmul("test", 128, k, n, precision)
        x, shift = empty(dry, 1, 128 // fold, fold, k), {}
    if bias:
        options = {**options, "bias": empty(dry, 1, 1, 1, n, **shift)}

    def run() -> None:
        ttnn.deallocate(ttnn.linear(x, weight, **options))

    use = next(each for each in record(dry, run).core_memory if each.op == "linear")
    assert use.buffers is not None
    cores = dry.grid[0] * dry.grid[1]
    room = (len(dry.l1) - use.tensors) // BF16_TILE_BYTES - 8  # tiles on a core; of a few there is no room for buffers
    filler = ttnn.zeros(
        [1, 1, 32, 32 * room * cores],
        dtype=ttnn.bfloat16,
        layout=ttnn.TILE_LAYOUT,
        device=dry.device,
        memory_config=programs.width_sharded(32 * room * cores, cores),
    )
    dry.device.clear_program_cache()
    with pytest.raises(RuntimeError) as clash:
        run()
    del filler
    said = CLASH.search(str(clash.value))
    assert said is not None, clash.value
    lowest, end = map(int, said.groups())
    assert lowest < end
    assert end == dry.l1.start + use.buffers


@pytest.mark.parametrize("chunk", [32, 64, 128, 256])
@pytest.mark.parametrize("head_dim", [32, 64, 96, 128, 256])
def test_the_buffers_of_prefills_attention_are_ttnns(dry: Mesh, head_dim: int, chunk: int) -> None:
    config = ttnn.SDPAProgramConfig(
        compute_with_storage_grid_size=dry.grid,
        q_chunk_size=chunk,
        k_chunk_size=chunk,
        exp_approx_mode=False,
        max_cores_per_head_batch=16,
    )
    q, k, v = (empty(dry, 1, heads, 2048, head_dim) for heads in (4, 2, 2))
    options = {"scale": 0.125, "program_config": config}
    pages = put(dry, torch.empty(1, 64, device="meta"), dtype=ttnn.int32, layout=ttnn.ROW_MAJOR_LAYOUT)
    cache = empty(dry, 64, 2, 32, head_dim)

    def run(window: int | None) -> None:
        ttnn.transformer.scaled_dot_product_attention(q, k, v, is_causal=True, sliding_window_size=window, **options)

    def later() -> None:
        ttnn.transformer.chunked_scaled_dot_product_attention(q, cache, cache, pages, 0, **options)

    most = attention_buffers(chunk, head_dim)
    for each in (lambda: run(None), lambda: run(100), later):
        (use,) = (u for u in record(dry, each).core_memory if "attention" in u.op)
        assert use.buffers is not None
        assert most - 4 * BF16_TILE_BYTES <= use.buffers <= most


def test_tensors_are_counted_from_the_lowest_that_is_alive(dry: Mesh) -> None:
    programs = Programs(dry)
    memory = programs.width_sharded(32 * 64 * 5, 64)  # 5 tiles on every core

    def run() -> None:
        x = empty(dry, 1, 1, 32, 32 * 64 * 5)
        first = ttnn.to_memory_config(x, memory)
        second = ttnn.to_memory_config(x, memory)
        ttnn.deallocate(first)
        third = ttnn.add(second, second, memory_config=memory)  # in the gap that the first left
        ttnn.deallocate(second), ttnn.deallocate(third)

    uses = {each.op: each for each in record(dry, run).core_memory}
    assert uses["to_memory_config"].tensors == uses["add"].tensors == 2 * 5 * BF16_TILE_BYTES
