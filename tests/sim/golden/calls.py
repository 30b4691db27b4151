"""One call of every ttnn op that has no kernel of ours and can run: what the sweep in test_any_op.py runs.

Tables go from an op's name, without ``ttnn.``, to a call that takes a :class:`Draw` and makes its own operands, or
for whole families of ops to the torch function that computes the same in float64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import ttnn
from torch import special
from torch.nn import functional as nn

if TYPE_CHECKING:
    from collections.abc import Callable

    from ttfamily.core.mesh.mesh import Mesh

SHAPE = (1, 1, 32, 64)
Reference = "Callable[..., torch.Tensor] | None"


class Draw:
    """Makes operands of one call: on every device its own values, or on all of them those that one device had.

    :param only: None, or the device whose values all get.
    """

    def __init__(self, mesh: Mesh, only: int | None = None) -> None:
        self.mesh, self.only = mesh, only
        self.devices = mesh.device.get_num_devices()
        self.numbers = torch.Generator().manual_seed(1)
        self.tensors: list[ttnn.Tensor] = []
        self.values: list[list[torch.Tensor]] = []  # of every device, as they are stored

    def put(self, parts: list[torch.Tensor], dtype: ttnn.DataType, layout: ttnn.Layout) -> ttnn.Tensor:
        chosen = parts if self.only is None else [parts[self.only]] * len(parts)
        whole = torch.cat(chosen)
        tensor = ttnn.from_torch(
            whole,
            dtype,
            layout=layout,
            device=self.mesh.device,
            mesh_mapper=ttnn.ShardTensorToMesh(self.mesh.device, dim=0),
        )
        self.tensors.append(tensor)
        self.values.append(chosen)
        return tensor

    def real(self, *shape: int, low: float = -3.0, high: float = 3.0, rm: bool = False, **kind: Any) -> ttnn.Tensor:
        """Uniform numbers, bfloat16 unless ``dtype`` is given."""
        shape = shape or SHAPE
        dtype = kind.get("dtype", ttnn.bfloat16)
        parts = [torch.rand(shape, generator=self.numbers) * (high - low) + low for _ in range(self.devices)]
        if dtype == ttnn.bfloat16:
            parts = [part.bfloat16().float() for part in parts]
        return self.put(parts, dtype, ttnn.ROW_MAJOR_LAYOUT if rm else ttnn.TILE_LAYOUT)

    def whole(
        self, *shape: int, low: int = 0, high: int = 32, dtype: Any = ttnn.int32, rm: bool = False
    ) -> ttnn.Tensor:
        """Uniform integers from ``low`` to ``high - 1``."""
        shape = shape or SHAPE
        parts = [torch.randint(low, high, shape, generator=self.numbers).int() for _ in range(self.devices)]
        return self.put(parts, dtype, ttnn.ROW_MAJOR_LAYOUT if rm else ttnn.TILE_LAYOUT)

    def bits(self, *shape: int) -> ttnn.Tensor:
        """Zeros and ones in bfloat16."""
        shape = shape or SHAPE
        parts = [torch.randint(0, 2, shape, generator=self.numbers).float() for _ in range(self.devices)]
        return self.put(parts, ttnn.bfloat16, ttnn.TILE_LAYOUT)


REAL, POSITIVE, UNIT, ABOVE_ONE, BOTH_SIDES = (-3.0, 3.0), (0.25, 4.0), (-0.9, 0.9), (1.1, 4.0), (0.3, 0.7)

UNARY: dict[str, tuple[tuple[float, float], Any]] = {
    "abs": (REAL, torch.abs), "acos": (UNIT, torch.acos), "acosh": (ABOVE_ONE, torch.acosh),
    "asin": (UNIT, torch.asin), "asinh": (REAL, torch.asinh), "atan": (REAL, torch.atan),
    "atanh": (UNIT, torch.atanh), "cbrt": (REAL, lambda x: x.sign() * x.abs() ** (1 / 3)),
    "ceil": (REAL, torch.ceil), "celu": (REAL, nn.celu), "cos": (REAL, torch.cos), "cosh": (REAL, torch.cosh),
    "deg2rad": (REAL, torch.deg2rad), "digamma": (POSITIVE, torch.digamma), "elu": (REAL, nn.elu),
    "eqz": (REAL, lambda x: x == 0), "erf": (REAL, torch.erf), "erfc": (REAL, torch.erfc),
    "erfinv": (UNIT, torch.erfinv), "exp": (REAL, torch.exp), "exp2": (REAL, torch.exp2),
    "expm1": (REAL, torch.expm1), "floor": (REAL, torch.floor), "frac": (REAL, torch.frac),
    "gelu": (REAL, nn.gelu), "gez": (REAL, lambda x: x >= 0), "gtz": (REAL, lambda x: x > 0),
    "hardmish": (REAL, lambda x: x * (0.5 * x + 1).clamp(0, 1)), "hardshrink": (REAL, nn.hardshrink),
    "hardsigmoid": (REAL, nn.hardsigmoid), "hardswish": (REAL, nn.hardswish), "hardtanh": (REAL, nn.hardtanh),
    "i0": (REAL, torch.i0), "i1": (REAL, special.i1), "identity": (REAL, torch.clone),
    "isfinite": (REAL, torch.isfinite), "isinf": (REAL, torch.isinf), "isnan": (REAL, torch.isnan),
    "isneginf": (REAL, torch.isneginf), "isposinf": (REAL, torch.isposinf),
    "lez": (REAL, lambda x: x <= 0), "lgamma": (POSITIVE, torch.lgamma), "log": (POSITIVE, torch.log),
    "log10": (POSITIVE, torch.log10), "log1p": (POSITIVE, torch.log1p), "log2": (POSITIVE, torch.log2),
    "log_sigmoid": (REAL, nn.logsigmoid), "logical_not": (REAL, torch.logical_not),
    "logit": (BOTH_SIDES, torch.logit), "ltz": (REAL, lambda x: x < 0), "mish": (REAL, nn.mish),
    "multigammaln": (ABOVE_ONE, None), "neg": (REAL, torch.neg), "nez": (REAL, lambda x: x != 0),
    "rad2deg": (UNIT, torch.rad2deg), "reciprocal": (POSITIVE, torch.reciprocal), "relu": (REAL, torch.relu),
    "relu6": (REAL, nn.relu6), "round": (REAL, torch.round), "rsqrt": (POSITIVE, torch.rsqrt),
    "selu": (REAL, nn.selu), "sigmoid": (REAL, torch.sigmoid), "sigmoid_accurate": (REAL, torch.sigmoid),
    "sign": (REAL, torch.sign), "signbit": (REAL, torch.signbit), "silu": (REAL, nn.silu), "sin": (REAL, torch.sin),
    "sinh": (REAL, torch.sinh), "softplus": (REAL, nn.softplus), "softshrink": (REAL, nn.softshrink),
    "softsign": (REAL, nn.softsign), "sqrt": (POSITIVE, torch.sqrt), "square": (REAL, torch.square),
    "swish": (REAL, nn.silu), "tan": (UNIT, torch.tan), "tanh": (REAL, torch.tanh),
    "tanhshrink": (REAL, nn.tanhshrink), "trunc": (REAL, torch.trunc), "xielu": (REAL, None),
}  # fmt: skip

UNARY_WITH: dict[str, tuple[tuple[Any, ...], Any]] = {
    "clamp": ((-1.0, 1.0), torch.clamp), "clip": ((-1.0, 1.0), torch.clamp),
    "fill": ((2.5,), torch.full_like), "heaviside": ((0.5,), None),
    "polygamma": ((1,), None), "pow": ((2.0,), torch.pow),
    "prelu": ((0.25,), lambda x, w: torch.where(x > 0, x, w * x)),
    "rdiv": ((2.0,), lambda x, v: v / x), "relu_max": ((1.5,), lambda x, v: x.clamp(0, v)),
    "relu_min": ((0.5,), lambda x, v: x.clamp(v)), "rpow": ((2.0,), lambda x, v: v**x),
    "threshold": ((0.5, 2.0), nn.threshold),
    "leaky_relu": ((0.1,), nn.leaky_relu), "tril": ((), torch.tril), "triu": ((), torch.triu),
}  # fmt: skip

BINARY: dict[str, Any] = {
    "atan2": torch.atan2, "div": torch.div, "divide": torch.div,
    "div_no_nan": lambda x, y: torch.where(y == 0, 0.0, x / y), "eq": torch.eq, "floor_div": None,
    "fmod": None, "ge": torch.ge, "gt": torch.gt, "hypot": torch.hypot, "isclose": torch.isclose,
    "ldexp": lambda x, y: x * torch.exp2(y), "le": torch.le, "logaddexp": torch.logaddexp,
    "logaddexp2": torch.logaddexp2, "logical_and": torch.logical_and, "logical_or": torch.logical_or,
    "logical_xor": torch.logical_xor, "lt": torch.lt, "maximum": torch.maximum, "minimum": torch.minimum,
    "ne": torch.ne, "nextafter": None, "remainder": None, "rsub": lambda x, y: y - x,
    "squared_difference": lambda x, y: (x - y) ** 2, "xlogy": None, "l1_loss": None, "mse_loss": None,
    "bias_gelu": lambda x, y: nn.gelu(x + y),
}  # fmt: skip

IN_PLACE: dict[str, Any] = {
    "bias_gelu_": lambda x, y: nn.gelu(x + y), "divide_": torch.div, "eq_": torch.eq, "ge_": torch.ge,
    "gt_": torch.gt, "ldexp_": lambda x, y: x * torch.exp2(y), "le_": torch.le, "logaddexp_": torch.logaddexp,
    "logaddexp2_": torch.logaddexp2, "logical_and_": torch.logical_and, "logical_or_": torch.logical_or,
    "logical_xor_": torch.logical_xor, "lt_": torch.lt, "multiply_": torch.mul, "ne_": torch.ne,
    "rsub_": lambda x, y: y - x, "squared_difference_": lambda x, y: (x - y) ** 2, "subtract_": torch.sub,
}  # fmt: skip

INTEGER: dict[str, Any] = {
    "bitwise_and": torch.bitwise_and, "bitwise_or": torch.bitwise_or, "bitwise_xor": torch.bitwise_xor,
    "bitwise_left_shift": torch.bitwise_left_shift, "bitwise_right_shift": torch.bitwise_right_shift,
    "gcd": torch.gcd, "lcm": torch.lcm, "logical_left_shift": torch.bitwise_left_shift,
    "logical_right_shift": torch.bitwise_right_shift,
}  # fmt: skip

# Backward of a unary op: the forward function, which autograd derives in float64.
UNARY_BACKWARD: dict[str, tuple[tuple[float, float], Any]] = {
    "abs_bw": (POSITIVE, torch.abs), "acos_bw": (UNIT, torch.acos), "acosh_bw": (ABOVE_ONE, torch.acosh),
    "asin_bw": (UNIT, torch.asin), "asinh_bw": (REAL, torch.asinh), "atan_bw": (REAL, torch.atan),
    "atanh_bw": (UNIT, torch.atanh), "ceil_bw": (REAL, torch.ceil), "celu_bw": (REAL, nn.celu),
    "cos_bw": (REAL, torch.cos), "cosh_bw": (REAL, torch.cosh), "deg2rad_bw": (REAL, torch.deg2rad),
    "digamma_bw": (POSITIVE, torch.digamma), "elu_bw": (REAL, nn.elu), "erf_bw": (REAL, torch.erf),
    "erfc_bw": (REAL, torch.erfc), "erfinv_bw": (UNIT, torch.erfinv), "exp2_bw": (REAL, torch.exp2),
    "exp_bw": (REAL, torch.exp), "expm1_bw": (REAL, torch.expm1), "fill_bw": (REAL, None),
    "fill_zero_bw": (REAL, None), "floor_bw": (REAL, torch.floor), "frac_bw": (REAL, torch.frac),
    "gelu_bw": (REAL, nn.gelu), "hardshrink_bw": (REAL, nn.hardshrink), "hardsigmoid_bw": (REAL, nn.hardsigmoid),
    "hardswish_bw": (REAL, nn.hardswish), "hardtanh_bw": (REAL, nn.hardtanh), "i0_bw": (REAL, torch.i0),
    "leaky_relu_bw": (REAL, nn.leaky_relu), "lgamma_bw": (POSITIVE, torch.lgamma), "log10_bw": (POSITIVE, torch.log10),
    "log1p_bw": (POSITIVE, torch.log1p), "log2_bw": (POSITIVE, torch.log2), "log_bw": (POSITIVE, torch.log),
    "log_sigmoid_bw": (REAL, nn.logsigmoid), "logit_bw": (BOTH_SIDES, torch.logit), "logiteps_bw": (BOTH_SIDES, None),
    "multigammaln_bw": ((2.5, 4.0), lambda x: special.multigammaln(x, 4)), "neg_bw": (REAL, torch.neg),
    "rad2deg_bw": (REAL, torch.rad2deg), "reciprocal_bw": (POSITIVE, torch.reciprocal), "relu6_bw": (REAL, nn.relu6),
    "relu_bw": (REAL, torch.relu), "round_bw": (REAL, torch.round), "rsqrt_bw": (POSITIVE, torch.rsqrt),
    "selu_bw": (REAL, nn.selu), "sigmoid_bw": (REAL, torch.sigmoid), "sign_bw": (REAL, torch.sign),
    "silu_bw": (REAL, nn.silu), "sin_bw": (REAL, torch.sin), "sinh_bw": (REAL, torch.sinh),
    "softplus_bw": (REAL, nn.softplus), "softshrink_bw": (REAL, nn.softshrink), "softsign_bw": (REAL, nn.softsign),
    "sqrt_bw": (POSITIVE, torch.sqrt), "square_bw": (REAL, torch.square), "tan_bw": (UNIT, torch.tan),
    "tanh_bw": (REAL, torch.tanh), "tanhshrink_bw": (REAL, nn.tanhshrink), "trunc_bw": (REAL, torch.trunc),
}  # fmt: skip

BINARY_BACKWARD: dict[str, Any] = {
    "add_bw": torch.add, "assign_bw": None, "atan2_bw": torch.atan2, "bias_gelu_bw": None,
    "div_bw": torch.div, "fmod_bw": None,
    "hypot_bw": torch.hypot, "ldexp_bw": lambda x, y: x * torch.exp2(y), "logaddexp2_bw": torch.logaddexp2,
    "logaddexp_bw": torch.logaddexp, "max_bw": torch.maximum, "min_bw": torch.minimum, "mul_bw": torch.mul,
    "remainder_bw": None, "rsub_bw": lambda x, y: y - x, "squared_difference_bw": lambda x, y: (x - y) ** 2,
    "sub_bw": torch.sub, "xlogy_bw": torch.xlogy,
}  # fmt: skip

T, R = ttnn.TILE_LAYOUT, ttnn.ROW_MAJOR_LAYOUT
OTHER: dict[str, Callable[[Draw], Any]] = {
    # with three operands, or parameters
    "addalpha": lambda d: ttnn.addalpha(d.real(), d.real(), 0.5),
    "subalpha": lambda d: ttnn.subalpha(d.real(), d.real(), 0.5),
    "addcmul": lambda d: ttnn.addcmul(d.real(), d.real(), d.real(), value=2.0),
    "addcdiv": lambda d: ttnn.addcdiv(d.real(), d.real(), d.real(low=1.0), value=2.0),
    "lerp": lambda d: ttnn.lerp(d.real(), d.real(), 0.25),
    "mac": lambda d: ttnn.mac(d.real(), d.real(), d.real()),
    "where": lambda d: ttnn.where(d.bits(), d.real(), d.real()),
    "snake_beta": lambda d: ttnn.snake_beta(d.real(), d.real(*SHAPE, low=0.5), d.real(*SHAPE, low=0.5)),
    "polyval": lambda d: ttnn.polyval(d.real(), [1.0, 2.0, 3.0]),
    "bitwise_not": lambda d: ttnn.bitwise_not(d.whole()),
    "bitcast": lambda d: ttnn.bitcast(d.real(dtype=ttnn.float32), ttnn.int32),
    "logical_not_": lambda d: ttnn.logical_not_(d.bits()),
    "outer": lambda d: ttnn.outer(d.real(1, 1, 32, 1), d.real(1, 1, 1, 32)),
    "geglu": lambda d: ttnn.geglu(d.real(), -1),
    "glu": lambda d: ttnn.glu(d.real(), -1),
    "reglu": lambda d: ttnn.reglu(d.real(), -1),
    "swiglu": lambda d: ttnn.swiglu(d.real(), -1),
    "clamped_silu_glu": lambda d: ttnn.clamped_silu_glu(d.real(), d.real(), 2.0),
    "normalize_global": lambda d: ttnn.normalize_global(d.real()),
    "normalize_hw": lambda d: ttnn.normalize_hw(d.real()),
    "quantize": lambda d: ttnn.quantize(d.real(), 0.05, 3, dtype=ttnn.int32),
    "dequantize": lambda d: ttnn.dequantize(d.whole(low=-50, high=50), 0.05, 3, dtype=ttnn.bfloat16),
    "requantize": lambda d: ttnn.requantize(d.whole(low=-50, high=50), 0.05, 3, 0.1, 2, dtype=ttnn.int32),
    # backward, with parameters
    "addcmul_bw": lambda d: ttnn.addcmul_bw(d.real(), d.real(), d.real(), d.real(), 2.0),
    "addcdiv_bw": lambda d: ttnn.addcdiv_bw(d.real(), d.real(), d.real(), d.real(low=1.0), 2.0),
    "addalpha_bw": lambda d: ttnn.addalpha_bw(d.real(), d.real(), d.real(), 0.5),
    "subalpha_bw": lambda d: ttnn.subalpha_bw(d.real(), d.real(), d.real(), 0.5),
    "clamp_bw": lambda d: ttnn.clamp_bw(d.real(), d.real(), -1.001, 1.001),
    "clip_bw": lambda d: ttnn.clip_bw(d.real(), d.real(), -1.001, 1.001),
    "div_no_nan_bw": lambda d: ttnn.div_no_nan_bw(d.real(), d.real(), 2.0),
    "concat_bw": lambda d: ttnn.concat_bw(d.real(1, 1, 32, 128), d.real(), d.real(), 3),
    "embedding_bw": lambda d: ttnn.embedding_bw(
        d.whole(1, 32, dtype=ttnn.uint32, rm=True), d.real(64, 32), d.real(1, 1, 32, 32)
    ),
    "lerp_bw": lambda d: ttnn.lerp_bw(d.real(), d.real(), d.real(), 0.25),
    "polygamma_bw": lambda d: ttnn.polygamma_bw(d.real(), d.real(low=1.0, high=4.0), 1),
    "pow_bw": lambda d: ttnn.pow_bw(d.real(), d.real(low=1.0, high=2.0), 2.0),
    "prod_bw": lambda d: ttnn.prod_bw(d.real(1, 1, 32, 1), d.real(1, 1, 32, 64, low=0.9, high=1.1), dim=3),
    "rdiv_bw": lambda d: ttnn.rdiv_bw(d.real(), d.real(low=1.0), 2.0),
    "repeat_bw": lambda d: ttnn.repeat_bw(d.real(2, 1, 32, 64), d.real(1, 1, 32, 64), (2, 1, 1, 1)),
    "rpow_bw": lambda d: ttnn.rpow_bw(d.real(), d.real(), 2.0),
    "threshold_bw": lambda d: ttnn.threshold_bw(d.real(), d.real(), 0.5, 2.0),
    "where_bw": lambda d: ttnn.where_bw(d.real(), d.bits(), d.real(), d.real()),
    # reductions
    "argmax": lambda d: ttnn.argmax(d.real(rm=True), dim=-1, keepdim=True),
    "max": lambda d: ttnn.max(d.real(), dim=-1, keepdim=True),
    "min": lambda d: ttnn.min(d.real(), dim=-2, keepdim=True),
    "mean": lambda d: ttnn.mean(d.real(), dim=-1),
    "sum": lambda d: ttnn.sum(d.real(), dim=(-2, -1), keepdim=True),
    "var": lambda d: ttnn.var(d.real(), dim=-1, keepdim=True),
    "std": lambda d: ttnn.std(d.real(), dim=-1, keepdim=True),
    "var_hw": lambda d: ttnn.var_hw(d.real()),
    "std_hw": lambda d: ttnn.std_hw(d.real()),
    "prod": lambda d: ttnn.prod(d.real(1, 1, 32, 64, low=0.9, high=1.1), dim=3),
    "cumsum": lambda d: ttnn.cumsum(d.real(), dim=-1),
    "cumprod": lambda d: ttnn.cumprod(d.real(low=0.9, high=1.1), dim=-1),
    "ema": lambda d: ttnn.ema(d.real(), 0.5),
    "topk": lambda d: ttnn.topk(d.real(), 16, dim=-1, largest=True, sorted=True),
    "sort": lambda d: ttnn.sort(d.real(), dim=-1, descending=True),
    # moving
    "assign": lambda d: ttnn.assign(d.real(), memory_config=ttnn.L1_MEMORY_CONFIG),
    "copy": lambda d: ttnn.copy(d.real(), d.real()),
    "chunk": lambda d: ttnn.chunk(d.real(), 2, 3),
    "split": lambda d: ttnn.split(d.real(), 32, 3),
    "squeeze": lambda d: ttnn.squeeze(d.real(), 0),
    "unsqueeze": lambda d: ttnn.unsqueeze(d.real(), 0),
    "stack": lambda d: ttnn.stack([d.real(), d.real()], 0),
    "narrow": lambda d: ttnn.narrow(d.real(24, 1, 32, 32), 0, 12, 12),
    "view": lambda d: ttnn.view(d.real(1, 1, 64, 64), (1, 2, 32, 64)),
    "expand": lambda d: ttnn.expand(d.real(), (1, 4, 32, 64)),
    "repeat": lambda d: ttnn.repeat(d.real(), (1, 2, 1, 1)),
    "repeat_interleave": lambda d: ttnn.repeat_interleave(d.real(), 2, 1),
    "roll": lambda d: ttnn.roll(d.real(), 3, 3),
    "reshape_on_device": lambda d: ttnn.reshape_on_device(d.real(1, 1, 64, 64), 1, 2, 32, 64),
    "pad": lambda d: ttnn.pad(d.real(), [(0, 0), (0, 1), (0, 32), (0, 0)], 1.5),
    "move": lambda d: ttnn.move(d.real()),
    "reallocate": lambda d: ttnn.reallocate(d.real()),
    "gather": lambda d: ttnn.gather(d.real(), 3, d.whole(1, 1, 32, 32, high=64, dtype=ttnn.uint16)),
    "scatter": lambda d: ttnn.scatter(d.real(rm=True), 3, _distinct(d, 32, 64), d.real(1, 1, 32, 32, rm=True)),
    "scatter_add": lambda d: ttnn.scatter_add(d.real(rm=True), 3, _distinct(d, 32, 64), d.real(1, 1, 32, 32, rm=True)),
    "tosa_gather": lambda d: ttnn.tosa_gather(d.real(1, 32, 32), d.whole(1, 32, dtype=ttnn.uint32)),
    "tosa_scatter": lambda d: ttnn.tosa_scatter(
        d.real(1, 64, 32), d.whole(1, 32, high=64, dtype=ttnn.uint32), d.real(1, 32, 32)
    ),
    "index_fill": lambda d: ttnn.index_fill(d.real(rm=True), 3, _same(d, [3, 5, 9, 30]), 2.5),
    "indexed_fill": lambda d: ttnn.indexed_fill(
        _same(d, [2, 0]), d.real(4, 1, 32, 64, rm=True), d.real(2, 1, 32, 64, rm=True)
    ),
    "nonzero": lambda d: ttnn.nonzero(d.whole(1, 1, 1, 64, high=2, dtype=ttnn.uint32, rm=True)),
    "tilize_with_val_padding": lambda d: ttnn.tilize_with_val_padding(
        d.real(1, 1, 30, 60, rm=True), [1, 1, 32, 64], 0.0
    ),
    "tilize_with_zero_padding": lambda d: ttnn.tilize_with_zero_padding(d.real(1, 1, 30, 60, rm=True)),
    "untilize_with_unpadding": lambda d: ttnn.untilize_with_unpadding(d.real(), [0, 0, 29, 59]),
    "fill_implicit_tile_padding": lambda d: ttnn.fill_implicit_tile_padding(d.real(1, 1, 30, 60), 0.0),
    "fill_cache": lambda d: ttnn.fill_cache(d.real(2, 1, 64, 32), d.real(1, 1, 32, 32), 1),
    "update_cache": lambda d: ttnn.update_cache(d.real(32, 1, 64, 32), d.real(1, 1, 32, 32), 5),
    "kv_cache.fill_cache_for_user_": lambda d: ttnn.kv_cache.fill_cache_for_user_(
        d.real(2, 1, 64, 32), d.real(1, 1, 32, 32), 1
    ),
    "kv_cache.update_cache_for_token_": lambda d: ttnn.kv_cache.update_cache_for_token_(
        d.real(32, 1, 64, 32), d.real(1, 1, 32, 32), 5, 0
    ),
    "plus_one": lambda d: ttnn.plus_one(d.whole(32, rm=True)),
    "bcast": lambda d: ttnn.bcast(d.real(), d.real(1, 1, 1, 64), ttnn.BcastOpMath.ADD, ttnn.BcastOpDim.H),
    "fold": lambda d: ttnn.fold(d.real(1, 4, 4, 16, rm=True), 2, 2),
    "composite_example": lambda d: ttnn.composite_example(d.real()),
    # made from nothing
    "zeros_like": lambda d: ttnn.zeros_like(d.real()),
    "ones_like": lambda d: ttnn.ones_like(d.real()),
    "full_like": lambda d: ttnn.full_like(d.real(), 2.5),
    "full": lambda d: ttnn.full(SHAPE, 2.5, layout=T, device=d.mesh.device),
    "ones": lambda d: ttnn.ones(SHAPE, layout=T, device=d.mesh.device),
    "arange": lambda d: ttnn.arange(0, 64, 2, device=d.mesh.device, dtype=ttnn.int32),
    "moreh_full": lambda d: ttnn.moreh_full(SHAPE, 2.5, d.mesh.device, layout=T),
    "moreh_full_like": lambda d: ttnn.moreh_full_like(d.real(), 2.5),
    "moreh_arange": lambda d: ttnn.moreh_arange(0, 64, 2, d.mesh.device),
    # normalisation and softmax
    "softmax": lambda d: ttnn.softmax(d.real(), dim=-1),
    "softmax_in_place": lambda d: ttnn.softmax_in_place(d.real()),
    "scale_mask_softmax": lambda d: ttnn.scale_mask_softmax(d.real(), 0.5, d.bits(1, 1, 32, 64)),
    "scale_mask_softmax_in_place": lambda d: ttnn.scale_mask_softmax_in_place(d.real(), 0.5, d.bits(1, 1, 32, 64)),
    "batch_norm": lambda d: ttnn.batch_norm(
        d.real(2, 3, 32, 32), running_mean=d.real(1, 3, 1, 1), running_var=d.real(1, 3, 1, 1, low=0.5), eps=1e-3
    ),
    "group_norm": lambda d: ttnn.group_norm(
        d.real(1, 1, 32, 64),
        num_groups=2,
        epsilon=1e-5,
        inplace=False,
        core_grid=ttnn.CoreGrid(y=1, x=1),
        input_mask=ttnn.create_group_norm_input_mask(64, 2, 1, ttnn.bfloat8_b).to(d.mesh.device),
    ),
    # matmuls and attention
    "addmm": lambda d: ttnn.addmm(d.real(32, 32), d.real(32, 64), d.real(64, 32), alpha=0.5, beta=2.0),
    "transformer.attention_softmax": lambda d: ttnn.transformer.attention_softmax(
        d.real(1, 2, 32, 64), head_size=32, attention_mask=d.bits(1, 1, 1, 64)
    ),
    "transformer.attention_softmax_": lambda d: ttnn.transformer.attention_softmax_(
        d.real(1, 2, 32, 64), head_size=32, attention_mask=d.bits(1, 1, 1, 64)
    ),
    "transformer.concatenate_heads": lambda d: ttnn.transformer.concatenate_heads(d.real(1, 2, 32, 64)),
    "transformer.split_query_key_value_and_split_heads": lambda d: (
        ttnn.transformer.split_query_key_value_and_split_heads(d.real(1, 32, 192), num_heads=2)
    ),
    "transformer.scaled_dot_product_attention_decode": lambda d: ttnn.transformer.scaled_dot_product_attention_decode(
        d.real(1, 2, 8, 32), d.real(2, 1, 64, 32), d.real(2, 1, 64, 32), cur_pos=[5, 40]
    ),
    "transformer.joint_scaled_dot_product_attention": lambda d: ttnn.transformer.joint_scaled_dot_product_attention(
        *(d.real(1, 2, 64, 32) for _ in range(3)),
        *(d.real(1, 2, 32, 32) for _ in range(3)),
        joint_strategy="rear",
        program_config=ttnn.SDPAProgramConfig(compute_with_storage_grid_size=(8, 7), q_chunk_size=32, k_chunk_size=32),
    ),
    "transformer.flash_mla_prefill": lambda d: ttnn.transformer.flash_mla_prefill(
        d.real(1, 2, 64, 64), d.real(1, 1, 64, 64), 32
    ),
    "experimental.rotary_embedding": lambda d: ttnn.experimental.rotary_embedding(
        d.real(1, 1, 32, 64), d.real(1, 1, 128, 64), d.real(1, 1, 128, 64), 5
    ),
    "experimental.broadcast_to": lambda d: ttnn.experimental.broadcast_to(
        d.real(1, 1, 32, 64), ttnn.Shape([1, 3, 32, 64])
    ),
    # moreh
    "moreh_abs_pow": lambda d: ttnn.moreh_abs_pow(d.real(), 2.0),
    "moreh_bmm": lambda d: ttnn.moreh_bmm(d.real(1, 32, 64), d.real(1, 64, 32)),
    "moreh_bmm_backward": lambda d: ttnn.moreh_bmm_backward(
        d.real(1, 32, 32),
        d.real(1, 32, 64),
        d.real(1, 64, 32),
        are_required_outputs=[True, True],
        input_grad=d.real(1, 32, 64),
        mat2_grad=d.real(1, 64, 32),
    ),
    "moreh_cumsum": lambda d: ttnn.moreh_cumsum(d.real(2, 2, 32, 64), 1),
    "moreh_cumsum_backward": lambda d: ttnn.moreh_cumsum_backward(d.real(2, 2, 32, 64), 1),
    "moreh_dot": lambda d: ttnn.moreh_dot(d.real(1, 1, 1, 64), d.real(1, 1, 1, 64)),
    "moreh_getitem": lambda d: ttnn.moreh_getitem(d.real(4, 32, 64, rm=True), [_same(d, [2, 0], ttnn.int32)], [0]),
    "moreh_group_norm": lambda d: ttnn.moreh_group_norm(
        d.real(1, 4, 32, 32), 2, 1e-5, are_required_outputs=(True, True, True)
    ),
    "moreh_layer_norm": lambda d: ttnn.moreh_layer_norm(d.real(1, 2, 32, 64), 1, 1e-5),
    "moreh_linear": lambda d: ttnn.moreh_linear(d.real(1, 1, 32, 64), d.real(32, 64)),
    "moreh_logsoftmax": lambda d: ttnn.moreh_logsoftmax(d.real(), 3),
    "moreh_logsoftmax_backward": lambda d: ttnn.moreh_logsoftmax_backward(d.real(), d.real(), 3),
    "moreh_matmul": lambda d: ttnn.moreh_matmul(d.real(1, 1, 32, 64), d.real(1, 1, 32, 64), transpose_other=True),
    "moreh_mean": lambda d: ttnn.moreh_mean(d.real(), dim=3, keepdim=True),
    "moreh_mean_backward": lambda d: ttnn.moreh_mean_backward(
        d.real(1, 1, 32, 1), dim=3, keepdim=True, input_grad_shape=ttnn.Shape(SHAPE)
    ),
    "moreh_norm": lambda d: ttnn.moreh_norm(d.real(), 2.0, dim=3, keepdim=True),
    "moreh_softmax": lambda d: ttnn.moreh_softmax(d.real(), 3),
    "moreh_softmax_backward": lambda d: ttnn.moreh_softmax_backward(d.real(), d.real(), 3),
    "moreh_softmin": lambda d: ttnn.moreh_softmin(d.real(), 3),
    "moreh_softmin_backward": lambda d: ttnn.moreh_softmin_backward(d.real(), d.real(), 3),
    "moreh_sum": lambda d: ttnn.moreh_sum(d.real(), dim=3, keepdim=True),
    "moreh_sum_backward": lambda d: ttnn.moreh_sum_backward(d.real(1, 1, 32, 1), input=d.real(), dim=3, keepdim=True),
    "moreh_adamw": lambda d: ttnn.moreh_adamw(d.real(), d.real(), d.real(), d.real(low=0.1), step=1),
    "moreh_sgd": lambda d: ttnn.moreh_sgd(d.real(), d.real(), lr=0.1, momentum_initialized=False),
    "moreh_clip_grad_norm": lambda d: ttnn.moreh_clip_grad_norm([d.real(), d.real()], 1.0),
    "moreh_dot_backward": lambda d: ttnn.moreh_dot_backward(
        d.real(1, 1, 1, 1),
        d.real(1, 1, 1, 64),
        d.real(1, 1, 1, 64),
        input_grad=d.real(1, 1, 1, 64),
        other_grad=d.real(1, 1, 1, 64),
    ),
    "moreh_linear_backward": lambda d: ttnn.moreh_linear_backward(
        d.real(1, 1, 32, 32),
        d.real(1, 1, 32, 64),
        d.real(32, 64),
        are_required_outputs=[True, True, False],
        input_grad=d.real(1, 1, 32, 64),
        weight_grad=d.real(32, 64),
    ),
    "moreh_matmul_backward": lambda d: ttnn.moreh_matmul_backward(
        d.real(1, 1, 32, 32),
        d.real(1, 1, 32, 64),
        d.real(1, 1, 64, 32),
        input_a_grad=d.real(1, 1, 32, 64),
        input_b_grad=d.real(1, 1, 64, 32),
    ),
    "moreh_layer_norm_backward": lambda d: ttnn.moreh_layer_norm_backward(
        d.real(1, 2, 32, 64),
        d.real(1, 2, 32, 64),
        d.real(1, 2, 32),
        d.real(1, 2, 32, low=0.5),
        1,
        input_grad=d.real(1, 2, 32, 64),
    ),
    "moreh_norm_backward": lambda d: ttnn.moreh_norm_backward(
        d.real(), d.real(1, 1, 32, 1, low=1.0), d.real(1, 1, 32, 1), 2.0, dim=3, keepdim=True
    ),
    "moreh_nll_loss": lambda d: ttnn.moreh_nll_loss(d.real(32, 64), d.whole(32, high=64), "sum"),
    "moreh_nll_loss_backward": lambda d: ttnn.moreh_nll_loss_backward(
        d.whole(32, high=64), d.real(1), False, input_grad_tensor=d.real(32, 64)
    ),
    "moreh_nll_loss_unreduced_backward": lambda d: ttnn.moreh_nll_loss_unreduced_backward(
        d.whole(32, high=64), d.real(32), input_grad_tensor=d.real(32, 64)
    ),
    "moreh_group_norm_backward": lambda d: ttnn.moreh_group_norm_backward(
        d.real(1, 4, 32, 32),
        d.real(1, 4, 32, 32),
        d.real(1, 1, 1, 2),
        d.real(1, 1, 1, 2, low=0.5),
        2,
        are_required_outputs=[True, False, False],
    ),
    # pooling and others
    "upsample": lambda d: ttnn.upsample(d.real(1, 4, 4, 32, rm=True), 2),
    "moe": lambda d: ttnn.moe(d.real(1, 1, 32, 64), d.bits(1, 1, 1, 64), d.bits(1, 1, 1, 32), 32),
    "fill_rm": lambda d: ttnn.fill_rm(1, 1, 32, 32, 16, 16, d.real(1, 1, 32, 32, rm=True), 2.0, 1.0),
    "fill_ones_rm": lambda d: ttnn.fill_ones_rm(1, 1, 32, 32, 16, 16, d.real(1, 1, 32, 32, rm=True)),
    "from_buffer": lambda d: ttnn.from_buffer(list(range(64)), ttnn.Shape([1, 64]), ttnn.int32, d.mesh.device),
    "reshard": lambda d: ttnn.reshard(ttnn.interleaved_to_sharded(d.real(1, 1, 64, 64), _height(2)), _height(1)),
    "interleaved_to_sharded_partial": lambda d: ttnn.interleaved_to_sharded_partial(
        d.real(1, 1, 64, 64),
        ttnn.CoreCoord(1, 1),
        [32, 64],
        2,
        1,
        ttnn.TensorMemoryLayout.HEIGHT_SHARDED,
        ttnn.ShardOrientation.ROW_MAJOR,
    ),
    "composite_example_multiple_return": lambda d: ttnn.composite_example_multiple_return(d.real()),
    "experimental.slice_write": lambda d: ttnn.experimental.slice_write(
        d.real(1, 1, 32, 32, rm=True), d.real(1, 1, 64, 32, rm=True), [0, 0, 32, 0], [1, 1, 64, 32], [1, 1, 1, 1]
    ),
    "transformer.flash_multi_latent_attention_decode": lambda d: ttnn.transformer.flash_multi_latent_attention_decode(
        d.real(1, 1, 32, 64), d.real(1, 1, 64, 64), head_dim_v=32, cur_pos=[40]
    ),
    "transformer.chunked_flash_mla_prefill": lambda d: ttnn.transformer.chunked_flash_mla_prefill(
        d.real(1, 2, 32, 64), d.real(4, 1, 32, 64), 32, _same(d, [[2, 0, 1, 3]], ttnn.int32), 32
    ),
    "transformer.fused_recurrent_gated_delta_rule": lambda d: ttnn.transformer.fused_recurrent_gated_delta_rule(
        *(d.real(1, 1, 2, 32) for _ in range(3)), d.real(1, 1, 2), d.real(1, 1, 2)
    ),
}


def _distinct(d: Draw, count: int, size: int) -> ttnn.Tensor:
    """Row indices without repeats, ``[1, 1, 32, count]`` of ``size``."""
    parts = [
        torch.stack([torch.randperm(size, generator=d.numbers)[:count] for _ in range(32)])[None, None].int()
        for _ in range(d.devices)
    ]
    return d.put(parts, ttnn.uint32, R)


def _same(d: Draw, values: list[Any], dtype: ttnn.DataType = ttnn.uint32) -> ttnn.Tensor:
    """The same indices on every device."""
    return ttnn.from_torch(torch.tensor(values, dtype=torch.int32), dtype, layout=R, device=d.mesh.device)


def _height(cores: int) -> ttnn.MemoryConfig:
    """64 x 64 cut into rows over some cores."""
    return ttnn.create_sharded_memory_config(
        (1, 1, 64, 64), ttnn.CoreGrid(y=1, x=cores), ttnn.ShardStrategy.HEIGHT, ttnn.ShardOrientation.ROW_MAJOR
    )


def _pooled(name: str, **more: Any) -> Callable[[Draw], Any]:
    return lambda d: getattr(ttnn, name)(
        d.real(1, 1, 64, 32, rm=True), batch_size=1, input_h=8, input_w=8, channels=32, **more
    )


NO_CALL_FOUND = "no call that ttnn accepts was found: "
CANNOT: dict[str, tuple[Callable[[Draw], Any] | None, str]] = {
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
    **{
        name: (None, NO_CALL_FOUND + why)
        for name, why in {
            "dram_prefetcher": "it needs a global circular buffer",
            "matmul_batched_weights": "it needs a program config of its own",
            "sparse_matmul": "it needs a program config of its own",
            "sharded_to_interleaved_partial": "it needs shards of a partial tensor",
            "moreh_fold": "its input is laid out for one convolution",
            "experimental.create_qkv_heads_from_separate_tensors": "its inputs are block-sharded over the heads",
            "experimental.indexed_fused_update_cache": "its inputs are sharded over the users",
            "transformer.chunk_gated_delta_rule": "it needs masks of its own",
            "transformer.gated_delta_attn_seq": "it needs the inverse of its chunks",
            "transformer.paged_flash_multi_latent_attention_decode": "it needs sharded heads",
            "transformer.sparse_sdpa": "it needs a packed cache",
            "transformer.sparse_sdpa_msa": "it needs a packed cache",
        }.items()
    },
}
"""Ops with a golden function that do not run here: an attempt, None if there is none, and what its error says."""
ON_HOST = ("allocate_tensor_on_host", "pearson_correlation_coefficient", "to_dtype")


def _with_rows(cache: torch.Tensor, new: torch.Tensor, place: tuple[Any, ...]) -> torch.Tensor:
    cache = cache.clone()
    cache[place] = new
    return cache


def _updated(cache: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    """Row 5 of every user's cache is its row of the new ones."""
    return _with_rows(cache, new[0].transpose(0, 1), (slice(None), slice(None), 5))


def _users_softmax(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return (x / 32**0.5 + mask).softmax(-1)


ALONG = (-2, -1)
OTHER_FORMULAS: dict[str, Callable[..., Any]] = {
    "addalpha": lambda x, y: x + 0.5 * y,
    "subalpha": lambda x, y: x - 0.5 * y,
    "addcmul": lambda x, y, z: x + 2 * y * z,
    "addcdiv": lambda x, y, z: x + 2 * y / z,
    "lerp": lambda x, y: x + 0.25 * (y - x),
    "mac": lambda x, y, z: x * y + z,
    "where": lambda c, x, y: torch.where(c == 1, x, y),
    "polyval": lambda x: x**2 + 2 * x + 3,
    "outer": lambda x, y: x * y,
    "geglu": lambda x: x[..., :32] * nn.gelu(x[..., 32:]),
    "glu": lambda x: x[..., :32] * x[..., 32:].sigmoid(),
    "reglu": lambda x: x[..., :32] * x[..., 32:].relu(),
    "swiglu": lambda x: x[..., :32] * nn.silu(x[..., 32:]),
    "bitwise_not": lambda x: -1 - x,
    "logical_not_": lambda x: 1 - x,
    "dequantize": lambda q: (q - 3) * 0.05,
    "addcmul_bw": lambda g, _x, y, z: (g, 2 * g * z, 2 * g * y),
    "addalpha_bw": lambda g, _x, _y: (g, 0.5 * g),
    "subalpha_bw": lambda g, _x, _y: (g, -0.5 * g),
    "clamp_bw": lambda g, x: g * (x.abs() <= 1),
    "pow_bw": lambda g, x: 2 * g * x,
    "where_bw": lambda g, c, _x, _y: (g * c, g * (1 - c)),
    "threshold_bw": lambda g, x: g * (x > 0.5),
    "concat_bw": lambda g, _x, _y: (g[..., :64], g[..., 64:]),
    "argmax": lambda x: x.argmax(-1, keepdim=True),
    "max": lambda x: x.amax(-1, keepdim=True),
    "min": lambda x: x.amin(-2, keepdim=True),
    "mean": lambda x: x.mean(-1),
    "sum": lambda x: x.sum(ALONG, keepdim=True),
    "var": lambda x: x.var(-1, keepdim=True),
    "std": lambda x: x.std(-1, keepdim=True),
    "prod": lambda x: x.prod(3),
    "cumsum": lambda x: x.cumsum(-1),
    "var_hw": lambda x: x.var(ALONG, correction=0, keepdim=True),
    "std_hw": lambda x: x.std(ALONG, correction=0, keepdim=True),
    "cumprod": lambda x: x.cumprod(-1),
    "topk": lambda x: (x.sort(-1, descending=True).values[..., :16],),
    "sort": lambda x: (x.sort(-1, descending=True).values,),
    "assign": lambda x: x,
    "copy": lambda x, _y: x,
    "move": lambda x: x,
    "reallocate": lambda x: x,
    "chunk": lambda x: (x[..., :32], x[..., 32:]),
    "split": lambda x: (x[..., :32], x[..., 32:]),
    "squeeze": lambda x: x[0],
    "unsqueeze": lambda x: x[None],
    "stack": lambda x, y: torch.stack([x, y]),
    "narrow": lambda x: x[12:24],
    "view": lambda x: x.reshape(1, 2, 32, 64),
    "reshape_on_device": lambda x: x.reshape(1, 2, 32, 64),
    "expand": lambda x: x.expand(1, 4, 32, 64),
    "repeat": lambda x: x.repeat(1, 2, 1, 1),
    "repeat_interleave": lambda x: x.repeat(1, 2, 1, 1),
    "roll": lambda x: x.roll(3, 3),
    "pad": lambda x: nn.pad(x, (0, 0, 0, 32, 0, 1), value=1.5),
    "gather": lambda x, i: x.gather(3, i),
    "tosa_gather": lambda x, i: x[0, i[0]][None],
    "scatter": lambda x, i, y: x.scatter(3, i, y),
    "scatter_add": lambda x, i, y: x.scatter_add(3, i, y),
    "index_fill": lambda x: _with_rows(x, torch.tensor(2.5, dtype=x.dtype), (..., [3, 5, 9, 30])),
    "indexed_fill": lambda x, y: torch.stack([y[1], x[1], y[0], x[3]]),
    "tilize_with_val_padding": lambda x: x,
    "tilize_with_zero_padding": lambda x: x,
    "untilize_with_unpadding": lambda x: x[..., :30, :60],
    "fill_implicit_tile_padding": lambda x: x,
    "fill_cache": lambda c, n: _with_rows(c, n[0, :, :32], (1, slice(None), slice(0, 32))),
    "kv_cache.fill_cache_for_user_": lambda c, n: _with_rows(c, n[0, :, :32], (1, slice(None), slice(0, 32))),
    "update_cache": _updated,
    "kv_cache.update_cache_for_token_": _updated,
    "plus_one": lambda x: x + 1,
    "bcast": lambda x, y: x + y,
    "zeros_like": torch.zeros_like,
    "ones_like": torch.ones_like,
    "full_like": lambda x: torch.full_like(x, 2.5),
    "full": lambda: torch.full(SHAPE, 2.5),
    "ones": lambda: torch.ones(SHAPE),
    "arange": lambda: torch.arange(0, 64, 2),
    "moreh_full": lambda: torch.full(SHAPE, 2.5),
    "moreh_arange": lambda: torch.arange(0, 64, 2),
    "softmax": lambda x: x.softmax(-1),
    "softmax_in_place": lambda x: x.softmax(-1),
    "scale_mask_softmax": lambda x, m: (0.5 * x + m).softmax(-1),
    "scale_mask_softmax_in_place": lambda x, m: (0.5 * x + m).softmax(-1),
    "batch_norm": lambda x, m, v: (x - m) / (v + 1e-3).sqrt(),
    "addmm": lambda c, a, b: 2 * c + 0.5 * (a @ b),
    "normalize_hw": lambda x: (x - x.mean()) / x.std(correction=0),
    "transformer.attention_softmax": _users_softmax,
    "transformer.attention_softmax_": _users_softmax,
    "transformer.concatenate_heads": lambda x: x.transpose(1, 2).reshape(1, 32, 128),
    "experimental.broadcast_to": lambda x: x.expand(1, 3, 32, 64),
    "reshard": lambda x: x,
    "interleaved_to_sharded_partial": lambda x: x[..., 32:, :],
    "experimental.slice_write": lambda x, y: _with_rows(y, x, (..., slice(32, 64), slice(None))),
    "moreh_abs_pow": lambda x: x.square(),
    "moreh_bmm": torch.bmm,
    "moreh_cumsum": lambda x: x.cumsum(1),
    "moreh_bmm_backward": lambda g, a, b, _p, _q: (g @ b.mT, a.mT @ g),
    "moreh_dot": lambda x, y: (x * y).sum().reshape(1, 1, 1, 1),
    "moreh_getitem": lambda x: x[[2, 0]],
    "moreh_linear": lambda x, w: x @ w.T,
    "moreh_matmul": lambda x, y: x @ y.mT,
    "moreh_softmax": lambda x: x.softmax(3),
    "moreh_softmin": lambda x: (-x).softmax(3),
    "moreh_logsoftmax": lambda x: x.log_softmax(3),
    "moreh_sum": lambda x: x.sum(3, keepdim=True),
    "moreh_mean": lambda x: x.mean(3, keepdim=True),
    "moreh_norm": lambda x: x.norm(dim=3, keepdim=True),
    "moreh_sgd": lambda p, g: (p - 0.1 * g,),
    "upsample": lambda x: x.repeat_interleave(2, 1).repeat_interleave(2, 2),
    "moreh_clip_grad_norm": lambda x, y: torch.cat([x.flatten(), y.flatten()]).norm(),
}
"""Of a call in OTHER: its operands -> what it gives in float64 (of several results, the first ones)."""
