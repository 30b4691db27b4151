"""Ops with a golden function that do not run on a simulated n300, with the reason of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import ttnn

if TYPE_CHECKING:
    from collections.abc import Callable


def _pooled(name: str, **more: Any) -> Callable[[Any], Any]:
    return lambda d: getattr(ttnn, name)(
        d.real(1, 1, 64, 32, rm=True), batch_size=1, input_h=8, input_w=8, channels=32, **more
    )


CANNOT: dict[str, tuple[Callable[[Any], Any], str]] = {
    "adaptive_avg_pool2d": (_pooled("adaptive_avg_pool2d", output_size=[2, 2]), "L1_SMALL"),
    "adaptive_max_pool2d": (_pooled("adaptive_max_pool2d", output_size=[2, 2]), "L1_SMALL"),
    "avg_pool2d": (_pooled("avg_pool2d", kernel_size=[2, 2], stride=[2, 2], padding=[0, 0]), "L1_SMALL"),
    "max_pool2d": (
        _pooled("max_pool2d", kernel_size=[2, 2], stride=[2, 2], padding=[0, 0], dilation=[1, 1]),
        "L1_SMALL",
    ),
    "conv2d": (
        lambda d: ttnn.conv2d(
            input_tensor=d.real(1, 1, 64, 32, rm=True),
            weight_tensor=ttnn.from_torch(torch.zeros(32, 32, 3, 3)),
            device=d.mesh.device,
            in_channels=32,
            out_channels=32,
            batch_size=1,
            input_height=8,
            input_width=8,
            kernel_size=[3, 3],
            padding=[1, 1],
        ),
        "L1_SMALL",
    ),
    "softcap": (lambda d: ttnn.softcap(d.real(), 2.0), "implemented for Blackhole only"),
    "situ_glu": (lambda d: ttnn.situ_glu(d.real(), d.real(), 1.5, 2.0), "implemented for Blackhole only"),
    "rotate": (lambda d: ttnn.rotate(d.real(1, 8, 8, 32, rm=True), 30.0), "torchvision"),
    "grid_sample": (
        lambda d: ttnn.grid_sample(d.real(1, 8, 8, 32, rm=True), d.real(1, 4, 4, 2, rm=True)),
        "golden function of this op fails on: No module named",
    ),
    "moreh_adam": (
        lambda d: ttnn.moreh_adam(d.real(), d.real(), d.real(), d.real(low=0.1), step=1),
        "ttnn marks its result as one that says nothing",
    ),
    "experimental.concatenate_heads": (
        lambda d: ttnn.experimental.concatenate_heads(d.real(8, 16, 384, 64), ttnn.CoreCoord(8, 8)),
        "outside the worker grid",
    ),
    "experimental.split_query_key_value_and_split_heads": (
        lambda d: ttnn.experimental.split_query_key_value_and_split_heads(
            d.real(8, 1, 384, 3072), ttnn.CoreCoord(8, 8)
        ),
        "outside the worker grid",
    ),
    "scale_causal_mask_hw_dims_softmax_in_place": (
        lambda d: ttnn.scale_causal_mask_hw_dims_softmax_in_place(d.real(), 0.5, d.bits()),
        "not supported in default program config",
    ),
    "dram_prefetcher": (lambda d: ttnn.dram_prefetcher([d.real()], 1), "needs exactly one delivery target"),
    "matmul_batched_weights": (
        lambda d: ttnn.matmul_batched_weights(
            d.real(1, 1, 32, 64), [d.real(1, 1, 64, 32)] * 2, memory_config=ttnn.DRAM_MEMORY_CONFIG
        ),
        "program_config must be provided",  # and a global circular buffer
    ),
    "transformer.sparse_sdpa": (
        lambda d: ttnn.transformer.sparse_sdpa(
            d.real(1, 1, 32, 64, rm=True),
            d.real(1, 1, 64, 64, rm=True),
            d.whole(1, 1, 32, 32, high=64, dtype=ttnn.uint32, rm=True),
            32,
            kv_format=ttnn.transformer.SparseKVFormat.BF16,
        ),
        "Blackhole-only",
    ),
    "transformer.sparse_sdpa_msa": (
        lambda d: ttnn.transformer.sparse_sdpa_msa(
            d.real(1, 1, 32, 64),
            *(d.real(1, 1, 256, 64) for _ in range(2)),
            d.whole(1, 1, 1, 1, high=2, dtype=ttnn.uint32, rm=True),
        ),
        "Blackhole-only",
    ),
}
"""Op -> an attempt to call it, and what its error says."""
# They run nothing on the device.
ON_HOST = ("allocate_tensor_on_host", "pearson_correlation_coefficient", "to_dtype")
