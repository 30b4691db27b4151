"""How far a device's values may be from the simulator's: by what the op does and in what format its output is.

Both computed the same op on the same inputs, so nothing has added up over a stream. What is left is one op's own
rounding. It is counted in *units*, the output format's last place relative to the number (of a block float, to the
largest of its block of 16). The bounds follow from what the matrix and vector units do:

- An op that moves values changes none of them; one that also changes their format rounds once.
- An elementwise op rounds its result once, half a unit if to nearest and one if it cuts; the vector unit's
  approximations of silu and gelu are allowed another.
- A norm multiplies a row by a statistic which is itself rounded, and by a weight: a unit for each.
- A matmul multiplies significands that its fidelity cuts, on the device and in the simulator alike
  (``sim/fidelity.py``), so their products are the same. Its result is rounded once. Sums in bfloat16, which the
  simulator makes in float32, add half a unit for each 16 products, as a random walk.
- Flash attention is two such products and an exponential, rounded to bfloat16 between them.
- A sum over devices rounds once for each device.

Two errors are held against them: of all elements together (the norm of the difference over the norm of what is
expected; of values without bias, a PCC of ``1 - error**2 / 2``), and of the worst element, relative to its magnitude
or to its row's root mean square, whichever is larger: sums cancel, and their errors do not.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs
import torch
import ttnn

if TYPE_CHECKING:
    from ttfamily.verify.door import OpCall

BLOCK = 16  # elements that share an exponent
# One unit. Float32 operands are multiplied as TF32, which has 10 bits after the leading one.
UNITS = {
    ttnn.bfloat16: 2.0**-7,
    ttnn.float32: 2.0**-10,
    ttnn.bfloat8_b: 2.0**-6,
    ttnn.bfloat4_b: 2.0**-2,
}
FROM_HOST = {torch.bfloat16: ttnn.bfloat16, torch.float32: ttnn.float32}
BLOCK_FLOATS = (ttnn.bfloat8_b, ttnn.bfloat4_b)
UNITS_OFF = 2.0  # of an op with one or two roundings
TAIL = 4  # of many rounding errors the largest is about four times their root mean square

MOVES = frozenset({
    "allocate_tensor_on_device", "all_gather", "clone", "concat", "copy_host_to_device_tensor", "embedding",
    "experimental.nlp_concat_heads", "experimental.nlp_concat_heads_decode", "experimental.nlp_create_qkv_heads",
    "experimental.nlp_create_qkv_heads_decode", "experimental.paged_fill_cache",
    "experimental.paged_fused_update_cache", "experimental.paged_update_cache", "from_torch",
    "interleaved_to_sharded", "permute", "reshape", "sharded_to_interleaved", "slice", "tilize", "to_layout",
    "to_memory_config", "transpose", "typecast", "unsqueeze_to_4D", "untilize", "zeros",
})  # fmt: skip
ELEMENTWISE = frozenset({"add", "add_", "subtract", "multiply", "unary_chain"})
NORMS = frozenset({
    "layer_norm", "layer_norm_post_all_gather", "layer_norm_pre_all_gather",
    "rms_norm", "rms_norm_post_all_gather", "rms_norm_pre_all_gather",
})  # fmt: skip
ROTATIONS = frozenset({
    "experimental.rotary_embedding_llama", "experimental.rotary_embedding_llama_fused_qk",
})  # fmt: skip
MATMULS = frozenset({"linear", "matmul"})
SUMS = frozenset({"all_reduce", "reduce_scatter"})


@attrs.frozen(kw_only=True)
class Bound:
    """How many units of the output's format two values may differ by.

    :param together: all elements, by the norm of their difference.
    :param worst: any one of them.
    """

    together: float
    worst: float


EQUAL = Bound(together=0.0, worst=0.0)
ONE_ROUNDING = Bound(together=1.0, worst=1.0)


@attrs.frozen(kw_only=True)
class Difference:
    """How far one output is off.

    :param together: the error of all elements, in units.
    :param worst: that of the worst, in units; infinite where one is not finite and should be.
    :param place: device and element of the worst.
    :param got: the device's value there.
    :param want: the simulator's.
    """

    together: float
    worst: float
    place: tuple[int, ...]
    got: float
    want: float

    def within(self, bound: Bound) -> bool:
        """Whether both errors are allowed."""
        return self.together <= bound.together and self.worst <= bound.worst

    def share(self, bound: Bound) -> float:
        """How much of the bound is used up: above 1 is too far; infinite where nothing is allowed and something is."""
        pairs = ((self.together, bound.together), (self.worst, bound.worst))
        return max(0.0 if not error else error / most if most else float("inf") for error, most in pairs)


def bound_of(call: OpCall, output: ttnn.DataType) -> Bound:
    """Return what one call's output may be off, from what the op is and how it was configured."""
    name = call.short_name
    if output not in UNITS:  # integers
        return EQUAL
    if name in MOVES:
        return EQUAL if _formats_in(call) <= {output} else ONE_ROUNDING
    if name in ELEMENTWISE:
        return _spread(UNITS_OFF, tail=1)
    if name in MATMULS:
        return _spread(1.0 + _units_of_sums(call))
    # The rest is attention, and what a plugin's own block runs.
    return _spread(UNITS_OFF if name in NORMS | ROTATIONS | SUMS else 2 * UNITS_OFF)


def _formats_in(call: OpCall) -> set[ttnn.DataType]:
    """The formats of numbers, not of integers, that a call is given on the device and on the host."""
    on_device = {each.dtype for each in call.tensors if each.dtype in UNITS}
    on_host = {FROM_HOST[each.dtype] for each in call.args if getattr(each, "dtype", None) in FROM_HOST}
    return on_device | on_host


def _spread(units: float, tail: int = TAIL) -> Bound:
    return Bound(together=units, worst=tail * units)


def _units_of_sums(call: OpCall) -> float:
    """Units that a matmul's sums lose while they are added."""
    config = call.kwargs.get("compute_kernel_config")
    if config is not None and config.fp32_dest_acc_en:
        return 0.0
    inner: int = call.tensors[0].shape[-1]
    return 0.5 * math.sqrt(max(1.0, inner / BLOCK))


def difference(got: torch.Tensor, want: torch.Tensor, output: ttnn.DataType) -> Difference:
    """Compare what a device has with what the simulator has.

    What is NaN in the simulator is undefined by the op's contract and is not compared.

    :param got: any shape.
    :param want: of the same shape.
    """
    if not want.dtype.is_floating_point:
        return _of_integers(got, want)
    a, b = got.double(), want.double()
    defined = ~b.isnan()
    same = (a == b) | ~defined
    if bool(same.all()):
        return Difference(together=0.0, worst=0.0, place=(), got=0.0, want=0.0)
    finite = a.isfinite() & b.isfinite()
    off = torch.where(same, 0.0, (a - b).abs()).nan_to_num(nan=torch.inf)
    off = torch.where(finite | same, off, torch.inf)
    scale = _scale(torch.where(defined & b.isfinite(), b, 0.0), output)
    unit = UNITS[output]
    relative = torch.where(off > 0, off / (scale * unit), 0.0)
    norm = float(torch.where(defined & b.isfinite(), b, 0.0).norm())
    total = float(off.norm())
    worst = int(relative.flatten().argmax())
    place = tuple(int(i) for i in torch.unravel_index(torch.tensor(worst), want.shape))
    return Difference(
        together=total / norm / unit if norm else float("inf"),
        worst=float(relative[place]),
        place=place,
        got=float(a[place]),
        want=float(b[place]),
    )


def _of_integers(got: torch.Tensor, want: torch.Tensor) -> Difference:
    wrong = (got != want).flatten()
    if not wrong.any():
        return Difference(together=0.0, worst=0.0, place=(), got=0.0, want=0.0)
    place = tuple(int(i) for i in torch.unravel_index(wrong.int().argmax(), want.shape))
    infinite = float("inf")
    return Difference(together=infinite, worst=infinite, place=place, got=float(got[place]), want=float(want[place]))


def _scale(want: torch.Tensor, output: ttnn.DataType) -> torch.Tensor:
    """What an element's error is relative to: its magnitude, its row's root mean square, or its block's largest."""
    row = want.square().mean(-1, keepdim=True).sqrt() if want.dim() else want.abs()
    scale = torch.maximum(want.abs(), row)
    if output in BLOCK_FLOATS:
        width = want.shape[-1]
        padded = torch.nn.functional.pad(want.abs(), (0, -width % BLOCK))
        largest = padded.unflatten(-1, (-1, BLOCK)).amax(-1, keepdim=True).expand(*padded.shape[:-1], -1, BLOCK)
        scale = torch.maximum(scale, largest.flatten(-2)[..., :width])
    return scale
