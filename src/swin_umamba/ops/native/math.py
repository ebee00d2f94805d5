"""exp2, softplus and sigmoid on vectors of float32 numbers.

exp2(x): x = r + f with r the nearest integer, found by adding and subtracting 1.5 * 2^23, which pushes the
fraction out of the mantissa; 2^f on [-1/2, 1/2] is a polynomial of degree 5, fitted to the smallest error in
units in the last place (ulp) with exp2(0) = 1 exactly; r is then added to the exponent bits as an integer.
Below -126 the result stays 2^-126 (no subnormal numbers); from 128 up it is infinity. The error is below 2
ulp of float32.

softplus(x) = max(x, 0) + log1p(exp(-|x|)), log1p(t) = t * (polynomial of degree 9 on [0, 1]); below 4 ulp for
x >= -87, where it reaches the smallest normal number and stays there. Above 20, PyTorch returns x itself,
which is the same number in float32. sigmoid is the derivative of softplus.

Every function maps NaN to NaN.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from swin_umamba.ops.native.state_vector import repeat_like
from swin_umamba.ops.native.vector import (
    emit_fma,
    float_constant,
    integer_constant,
    integers,
    select_negative,
    splat,
)

LOG2_E = 1.4426950408889634

_ROUNDER = 1.5 * 2.0**23
_EXP2 = (
    1.0,
    0.6931467106502067,
    0.24022239253429892,
    0.05551068905970778,
    0.009671659566394085,
    0.0013170705366677533,
)
_LOG1P = (
    0.9999999952872107,
    -0.4999990242264693,
    0.33329962413179215,
    -0.24954133620743327,
    0.19675939077364357,
    -0.15305592053606157,
    0.10603654009395508,
    -0.05695952564087729,
    0.019851457778362294,
    -0.0032440241608204723,
)
_EXP = tuple(coefficient * LOG2_E**i for i, coefficient in enumerate(_EXP2))  # e^x instead of 2^x
_LOG2_1P = tuple(coefficient * LOG2_E for coefficient in _LOG1P)
# ln 2 in two parts; the first has so few bits that its product with a small integer is exact.
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4


def _emit_at_least(builder: ir.IRBuilder, x: ir.Value, low: float) -> ir.Value:
    # Comparisons with NaN are false, so NaN passes; LLVM's own minnum and maxnum would replace it.
    return builder.select(builder.fcmp_ordered("<", x, float_constant(low, x)), float_constant(low, x), x)


def _emit_at_most(builder: ir.IRBuilder, x: ir.Value, high: float) -> ir.Value:
    return builder.select(builder.fcmp_ordered(">", x, float_constant(high, x)), float_constant(high, x), x)


def _emit_polynomial(builder: ir.IRBuilder, x: ir.Value, coefficients: tuple[float, ...]) -> ir.Value:
    result: ir.Value = float_constant(coefficients[-1], x)
    for coefficient in reversed(coefficients[:-1]):
        result = emit_fma(builder, result, x, float_constant(coefficient, x))
    return result


def _emit_times_power_of_two(builder: ir.IRBuilder, rounded: ir.Value, x: ir.Value) -> ir.Value:
    """Emit x * 2^r, where ``rounded`` is r + 1.5 * 2^23, whose low mantissa bits are the integer r."""
    lanes = x.type.count
    exponent = builder.shl(builder.bitcast(rounded, integers(lanes)), integer_constant(23, lanes))
    return builder.bitcast(builder.add(builder.bitcast(x, integers(lanes)), exponent), x.type)


def _emit_exp2(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    rounder = float_constant(_ROUNDER, x)
    rounded = builder.fadd(x, rounder)
    fraction = builder.fsub(x, builder.fsub(rounded, rounder))
    return _emit_times_power_of_two(builder, rounded, _emit_polynomial(builder, fraction, _EXP2))


@intrinsic
def exp2(typingctx: Any, x: types.Type) -> Any:
    """Return 2^x. The low 9 mantissa bits of a NaN must be 0, see ``canonical_nan``."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return _emit_exp2(builder, _emit_at_most(builder, _emit_at_least(builder, args[0], -126.0), 128.0))

    return x(x), generate


@intrinsic
def _exp_of_negative(typingctx: Any, x: types.Type) -> Any:
    """Return e^x for x <= 0, reducing the argument in two steps to stay accurate for large |x|."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        constant = functools.partial(float_constant, like=args[0])
        clamped = _emit_at_least(builder, args[0], -87.0)
        rounded = emit_fma(builder, clamped, constant(LOG2_E), constant(_ROUNDER))
        r = builder.fsub(rounded, constant(_ROUNDER))
        rest = emit_fma(builder, r, constant(-_LN2_HIGH), clamped)
        rest = emit_fma(builder, r, constant(-_LN2_LOW), rest)
        return _emit_times_power_of_two(builder, rounded, _emit_polynomial(builder, rest, _EXP))

    return x(x), generate


@intrinsic
def _exp2_of_negative(typingctx: Any, x: types.Type) -> Any:
    """Return 2^x for x <= 0, as ``exp2`` does."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return _emit_exp2(builder, _emit_at_least(builder, args[0], -126.0))

    return x(x), generate


def _emit_log1p(builder: ir.IRBuilder, x: ir.Value, coefficients: tuple[float, ...]) -> ir.Value:
    return builder.fmul(x, _emit_polynomial(builder, x, coefficients))


@intrinsic
def _log1p_of_fraction(typingctx: Any, x: types.Type) -> Any:
    """Return log(1 + x) for 0 <= x <= 1."""
    return x(x), lambda context, builder, signature, args: _emit_log1p(builder, args[0], _LOG1P)


@intrinsic
def _log2_of_one_and(typingctx: Any, x: types.Type) -> Any:
    """Return log2(1 + x) for 0 <= x <= 1."""
    return x(x), lambda context, builder, signature, args: _emit_log1p(builder, args[0], _LOG2_1P)


@intrinsic
def _minus_magnitude(typingctx: Any, x: types.Type) -> Any:
    """Return -|x|."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        bits = builder.bitcast(args[0], integers(x.lanes))
        signed = builder.or_(bits, integer_constant(-(2**31), x.lanes))
        return builder.bitcast(signed, args[0].type)

    return x(x), generate


@intrinsic
def canonical_nan(typingctx: Any, x: types.Type) -> Any:
    """Replace each NaN in ``x`` by the standard one, the only kind that exp2 preserves."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        is_nan = builder.fcmp_unordered("uno", args[0], args[0])
        return builder.select(is_nan, float_constant(float("nan"), args[0]), args[0])

    return x(x), generate


@njit(nogil=True)
def number_like(x, number):  # type: ignore[no-untyped-def]
    """Return as many copies of a number as ``x`` has lanes."""
    return repeat_like(x, splat(np.float32(number)))


# Softplus is computed in two steps, each in a loop of its own over a chunk: in one loop, the long chain of
# operations would keep the next numbers waiting. In base 2, with x in units of ln 2, it takes fewer of them.


@njit(nogil=True)
def exp_of_minus_magnitude(x):  # type: ignore[no-untyped-def]
    """Return e^-|x|, from which ``softplus`` and ``sigmoid`` go on."""
    return _exp_of_negative(_minus_magnitude(x))


@njit(nogil=True)
def exp2_of_minus_magnitude(x):  # type: ignore[no-untyped-def]
    """Return 2^-|x|, from which ``softplus_base_2`` and ``sigmoid`` go on."""
    return _exp2_of_negative(_minus_magnitude(x))


@njit(nogil=True)
def softplus(x, power):  # type: ignore[no-untyped-def]
    """Return log(1 + e^x)."""
    return select_negative(x, number_like(x, 0.0), x) + _log1p_of_fraction(power)


@njit(nogil=True)
def softplus_base_2(x, power):  # type: ignore[no-untyped-def]
    """Return log2(1 + 2^x), which is log2(e) log(1 + e^(x ln 2))."""
    return select_negative(x, number_like(x, 0.0), x) + _log2_of_one_and(power)


@njit(nogil=True)
def sigmoid(x, power):  # type: ignore[no-untyped-def]
    """Return the derivative of softplus: 1 / (1 + e^-x), or 1 / (1 + 2^-x)."""
    one = number_like(x, 1.0)
    return select_negative(x, power, one) / (one + power)


@njit(nogil=True)
def scaled_for_exp2(x):  # type: ignore[no-untyped-def]
    """Return ``x * log2(e)``, so that its exp2 is e^x, without NaNs that exp2 would not preserve."""
    return canonical_nan(x) * number_like(x, LOG2_E)
