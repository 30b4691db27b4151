"""Families of ops of one shape of call, each with the function that computes the same in float64; None without one."""

from __future__ import annotations

from typing import Any

import torch
from torch import special
from torch.nn import functional as nn

# From and to of the operands.
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
