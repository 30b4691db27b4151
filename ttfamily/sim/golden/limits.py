"""Where ttnn 0.81's golden functions cannot stand for the op, with the reason; what they need to be used rightly."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_MESH = "it works over several chips, and its golden function is of the whole mesh's tensors"
_COMPLEX = "its tensors are pairs of a real and an imaginary part, which the simulated mesh does not carry"

UNUSABLE: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "all_broadcast", "all_gather", "all_reduce", "all_to_all_combine", "all_to_all_dispatch", "broadcast",
            "mesh_partition", "moe_routing_remap", "point_to_point", "reduce_scatter", "reduce_to_root",
            "fused_rms_minimal", "moe_expert_token_remap",
            "transformer.exp_ring_joint_scaled_dot_product_attention",
            "transformer.ring_distributed_scaled_dot_product_attention",
            "transformer.ring_joint_scaled_dot_product_attention", "transformer.ring_mla",
        ),
        _MESH,
    ),
    "sampling": "it draws random numbers, and its golden function returns zeros",
    **dict.fromkeys(
        (
            "alt_complex_rotate90", "angle", "angle_bw", "complex_tensor", "conj", "conj_bw", "imag", "imag_bw",
            "is_imag", "is_real", "polar", "polar_bw", "real", "real_bw",
        ),
        _COMPLEX,
    ),
}  # fmt: skip
"""Op without ``ttnn.`` -> why its golden function is not called."""

NATIVE_DTYPE: frozenset[str] = frozenset({"bitcast", "nextafter"})
"""Ops whose result depends on the format of their operands bit by bit: float32 operands would give another."""

PLAIN_ARGUMENTS: frozenset[str] = frozenset({"pad"})
"""Golden functions that take the op's own arguments; their preparation for ttnn's comparison mode reads a buffer."""

UNVERSIONED: frozenset[str] = frozenset({"batch_norm"})
"""Golden functions that write to operands in a torch function that does not count it as a new version of them."""
