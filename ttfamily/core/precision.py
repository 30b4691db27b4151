"""Number formats and math fidelity for every group of tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import attrs

from ttfamily.errors import PlanError

if TYPE_CHECKING:
    import ttnn

Format = Literal["bf16", "bfp8", "bfp4"]
Fidelity = Literal["LoFi", "HiFi2", "HiFi4"]

# Of a 32 x 32 tile, with the exponents that a block format shares.
TILE_BYTES: dict[str, int] = {"fp32": 4096, "bf16": 2048, "bfp8": 1088, "bfp4": 576}
_FIDELITY: dict[str, Fidelity] = {"bf16": "HiFi4", "bfp8": "HiFi2", "bfp4": "LoFi"}


@attrs.frozen
class WeightPrecision:
    """How one group of weights is stored and multiplied.

    The fidelity follows the format: the matrix engine multiplies as many bits as the weights have
    (tech report 4.7: LoFi for BFP4, HiFi2 for BFP8, HiFi4 for BF16).
    """

    format: Format

    @property
    def fidelity(self) -> Fidelity:
        """The math fidelity that wastes no bit of the format and no pass of the engine."""
        return _FIDELITY[self.format]

    @property
    def tile_bytes(self) -> int:
        """Bytes of one 32 x 32 tile."""
        return TILE_BYTES[self.format]


@attrs.frozen(kw_only=True)
class PrecisionPolicy:
    """A format for every tensor group; activations are bf16."""

    qkv: WeightPrecision
    out: WeightPrecision
    gate_up: WeightPrecision
    down: WeightPrecision
    lm_head: WeightPrecision
    kv_cache: Format


_BF16, _BFP8, _BFP4 = WeightPrecision("bf16"), WeightPrecision("bfp8"), WeightPrecision("bfp4")

POLICIES: dict[str, PrecisionPolicy] = {
    "accuracy": PrecisionPolicy(qkv=_BF16, out=_BF16, gate_up=_BFP8, down=_BFP8, lm_head=_BFP8, kv_cache="bf16"),
    "performance": PrecisionPolicy(qkv=_BFP8, out=_BFP8, gate_up=_BFP4, down=_BFP8, lm_head=_BFP8, kv_cache="bfp8"),
}


def policy(precision: str | PrecisionPolicy) -> PrecisionPolicy:
    """Return the policy of that name, or the policy itself.

    :raises PlanError: if no policy has that name.
    """
    if isinstance(precision, PrecisionPolicy):
        return precision
    if precision not in POLICIES:
        raise PlanError(
            "precision",
            got=repr(precision),
            expected=f"one of {', '.join(POLICIES)}, or a PrecisionPolicy",
            fix="Choose one.",
        )
    return POLICIES[precision]


def ttnn_dtype(format_: Format) -> ttnn.DataType:
    """Return ttnn's name for a format."""
    import ttnn

    return {"bf16": ttnn.bfloat16, "bfp8": ttnn.bfloat8_b, "bfp4": ttnn.bfloat4_b}[format_]
