"""Math fidelity: the bits of its operands that the matrix engine multiplies.

The engine multiplies at most 5 significant bits of a weight by 7 of an activation, the leading one counted. Phase 0
takes the upper bits of both, phase 1 the weight's others, phases 2 and 3 the same with the activation's others; what
the phases of a fidelity make adds up. So a fidelity is a cut of the operands, towards zero, before exact products.
Weights are input 1 of a matmul (the SrcA register), activations input 0 (SrcB); in flash attention queries and
probabilities are activations, keys and values weights.

Sources: tt-isa-documentation, ``WormholeB0/TensixTile/TensixCoprocessor``: ``MVMUL.md``, ``SrcASrcB.md`` ("Fidelity
phases"), ``ELWMUL.md`` (the masks); which input is which: ``llk_math_matmul.h`` and ``sdpa/device/kernels/compute`` in
the wheel. Denormals, which the chip flushes to zero, and its infinities and NaN are left as torch has them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import attrs
import torch
import ttnn
from torch.utils.weak import WeakTensorKeyDictionary

if TYPE_CHECKING:
    from ttfamily.arch import Arch

PHASES = {"LoFi": 1, "HiFi2": 2, "HiFi3": 3, "HiFi4": 4}
LOW_PRECISION = (ttnn.bfloat8_b, ttnn.bfloat4_b)
# Significant bits of a format's values, the leading one counted.
SIGNIFICANT = {ttnn.bfloat4_b: 3, ttnn.bfloat8_b: 7, ttnn.bfloat16: 8, ttnn.float32: 24}
WEIGHT_BITS, ACTIVATION_BITS = 5, 7  # of phase 0

Side = Literal["weights", "activations"]


@attrs.frozen(kw_only=True)
class Engine:
    """How the matrix engine is set for the products of one op.

    :param phases: 1 to 4, of LoFi to HiFi4.
    :param fp32_dest: whether its sums (the Dst register) are float32, else bfloat16. Float32 operands are cut to
        tf32's 11 significant bits if so (the weights' last is never multiplied), else to bfloat16's 8.
    :param l1_sums: whether blocks of a long sum add up in L1 (``packer_l1_acc``).
    :param weights: the format of input 1. Unless it is float32 too, a float32 activation is read as bfloat16.
    """

    phases: int
    fp32_dest: bool = False
    l1_sums: bool = False
    weights: ttnn.DataType = ttnn.bfloat16

    @classmethod
    def of(cls, config: Any, fidelity: str, weights: ttnn.DataType, *, fp32: bool = False, l1: bool = False) -> Engine:
        """Read an op's compute kernel config; the rest is what the op has without one."""
        if config is None:
            return cls(phases=PHASES[fidelity], fp32_dest=fp32, l1_sums=l1, weights=weights)
        return cls(
            phases=PHASES[config.math_fidelity.name],
            fp32_dest=config.fp32_dest_acc_en,
            l1_sums=config.packer_l1_acc,
            weights=weights,
        )

    def kept(self, side: Side) -> int:
        """Significant bits of an operand that the four phases together take."""
        tf32 = self.fp32_dest and self.weights == ttnn.float32
        return {"weights": 10, "activations": 11}[side] if tf32 else SIGNIFICANT[ttnn.bfloat16]

    def terms(self, x: torch.Tensor, format_: ttnn.DataType, side: Side) -> list[torch.Tensor]:
        """Return what of an operand is multiplied: the sum of products of both sides' terms is the result.

        :param x: float32 or bfloat16, values of ``format_``.
        :returns: one term (``x`` itself where nothing is cut), in HiFi3 two, in bfloat16 or, for tf32, in float32.
        """
        first, kept = _FIRST[side], self.kept(side)
        if SIGNIFICANT[format_] > kept:
            x = leading(x, kept)
        if kept == SIGNIFICANT[ttnn.bfloat16]:
            x = x.bfloat16()  # exact by now
        upper = x if SIGNIFICANT[format_] <= first else leading(x, first)
        if self.phases == 3:  # noqa: PLR2004
            return [upper, rest(x, upper)] if side == "activations" else [x, upper]
        return [upper if self.phases == 1 or (self.phases == 2 and side == "activations") else x]  # noqa: PLR2004

    def by_phase(self, x: torch.Tensor, format_: ttnn.DataType, side: Side) -> list[torch.Tensor]:
        """Return what each phase multiplies of an operand."""
        (whole,) = attrs.evolve(self, phases=4).terms(x, format_, side)
        upper = leading(whole, _FIRST[side])
        lower = rest(whole, upper)
        order = [upper, lower, upper, lower] if side == "weights" else [upper, upper, lower, lower]
        return order[: self.phases]


_FIRST: dict[Side, int] = {"weights": WEIGHT_BITS, "activations": ACTIVATION_BITS}


def matmul_engine(
    config: Any, a: ttnn.DataType, b: ttnn.DataType, out: ttnn.DataType, arch: Arch, *, laid_out: bool
) -> Engine:
    """Return the engine of a matmul or linear.

    Source of what it is without a config: tt-metal, ``matmul_device_operation.cpp: create_matmul_attributes``.

    :param laid_out: whether the call says what its program is: a program config or a core grid.
    """
    fidelity = "LoFi" if laid_out or (a in LOW_PRECISION and b in LOW_PRECISION) else "HiFi2"
    if a == b == ttnn.float32:  # HiFi4 with float32 sums gives wrong numbers on Wormhole (tt-metal issue 38306)
        fidelity = "HiFi3" if arch == "wormhole_b0" else "HiFi4"
    return Engine.of(config, fidelity, b, fp32=out == ttnn.float32, l1=out != ttnn.float32)


def leading(x: torch.Tensor, bits: int) -> torch.Tensor:
    """Cut every value towards zero to its first significant bits."""
    integer, mantissa = (torch.int16, 7) if x.dtype == torch.bfloat16 else (torch.int32, 23)
    return x if bits > mantissa else (x.view(integer) & -(1 << (mantissa + 1 - bits))).view(x.dtype)


def rest(x: torch.Tensor, cut: torch.Tensor) -> torch.Tensor:
    """Return what a cut took away, which is exact; nothing of an infinity."""
    return torch.where(x == cut, 0, x - cut)


# ---- weights are cut once

_cut: WeakTensorKeyDictionary = WeakTensorKeyDictionary()  # value -> (its version, by setting what was made of it)


def cut_weights(x: torch.Tensor, format_: ttnn.DataType, engine: Engine, inner: int) -> torch.Tensor:
    """Return the terms of a weight, one after the other along its dimension ``inner``; cut once and kept.

    What is kept goes when ``x`` goes, and is made anew after a write into it.
    """
    if engine.phases in (2, 4) and SIGNIFICANT[format_] <= engine.kept("weights"):
        return x
    if SIGNIFICANT[format_] <= WEIGHT_BITS and engine.phases == 1:
        return x
    if x.is_inference():  # torch counts no writes into it
        return joined(engine.terms(x, format_, "weights"), inner)
    version, made = _cut.get(x, (None, None))
    if version != x._version:  # noqa: SLF001
        made = {}
        _cut[x] = (x._version, made)  # noqa: SLF001
    cut: torch.Tensor | None = made.get((engine, inner))
    if cut is None:
        cut = made[engine, inner] = joined(engine.terms(x, format_, "weights"), inner)
    return cut


def joined(terms: list[torch.Tensor], inner: int) -> torch.Tensor:
    """Put terms one after the other along the dimension that a product sums over; columns stay columns in memory."""
    if len(terms) == 1:
        return terms[0]
    if inner == -2 and terms[0].stride(-2) == 1:  # noqa: PLR2004
        return torch.cat([term.mT for term in terms], -1).mT
    return torch.cat(terms, inner)
