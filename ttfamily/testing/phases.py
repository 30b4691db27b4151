"""What each fidelity phase of the matrix engine multiplies, by arithmetic on float64: for tests of the simulated mesh.

Written from tt-isa-documentation (``WormholeB0/TensixTile/TensixCoprocessor/SrcASrcB.md``, "Fidelity phases"), and not
from the simulator, which works on bits.
"""

from __future__ import annotations

import torch

PHASES = {"LoFi": 1, "HiFi2": 2, "HiFi3": 3, "HiFi4": 4}


def significant(x: torch.Tensor, bits: int) -> torch.Tensor:
    """Return float64 values cut towards zero to ``bits`` significant bits."""
    mantissa, exponent = torch.frexp(x)  # 0.5 <= |mantissa| < 1
    return torch.ldexp((mantissa * 2**bits).trunc(), exponent - bits)


def by_phases(x: torch.Tensor, weight: torch.Tensor, fidelity: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return operands whose plain product is that of ``x`` and ``weight`` in a fidelity.

    :param x: ``[.., M, K]``, float64 with bfloat16 values: the activations.
    :param weight: ``[.., K, N]``, the same.
    :returns: ``[.., M, phases * K]`` and ``[.., phases * K, N]``: phase after phase.
    """
    upper_x, upper_weight = significant(x, 7), significant(weight, 5)
    lower_x, lower_weight = x - upper_x, weight - upper_weight
    count = PHASES[fidelity]
    left = [upper_x, upper_x, lower_x, lower_x][:count]
    right = [upper_weight, lower_weight, upper_weight, lower_weight][:count]
    return torch.cat(left, -1), torch.cat(right, -2)
