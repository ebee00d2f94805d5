"""A vector of 16 float32 numbers as a Numba type, so that the kernels vectorise by construction.

A plain inner loop over 16 channels leaves it to the optimiser whether the states stay in registers; it does
not, because it cannot prove that the work arrays do not overlap. Here the vector is a value of LLVM type
``<16 x float>``, which LLVM splits into whatever the machine has (one AVX-512, two AVX2 or four NEON
registers).

No fast-math flag is set anywhere: every operation is the IEEE one, so that NaN and infinity travel as they
should. ``fma`` is one rounding on machines with fused multiply-add and two on the few without.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

LANES = 16

_I32 = ir.IntType(32)
FLOATS = ir.VectorType(ir.FloatType(), LANES)
INTEGERS = ir.VectorType(_I32, LANES)


class Float32x16(types.Type):
    """The Numba type of a vector of 16 float32 numbers; it lives inside kernels only."""

    def __init__(self) -> None:
        super().__init__(name="Float32x16")


float32x16 = Float32x16()


@register_model(Float32x16)
class _Float32x16Model(models.PrimitiveModel):
    def __init__(self, manager: Any, numba_type: types.Type) -> None:
        super().__init__(manager, numba_type, FLOATS)


def float_constant(value: float) -> ir.Constant:
    """16 copies of ``value``, rounded to float32, as an LLVM constant."""
    return ir.Constant(FLOATS, [float(np.float32(value))] * LANES)


def integer_constant(value: int) -> ir.Constant:
    """16 copies of the int32 ``value`` as an LLVM constant."""
    return ir.Constant(INTEGERS, [value] * LANES)


def emit_fma(builder: ir.IRBuilder, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
    """Emit ``x * y + z``; fused where the machine can, never a slow library call where it cannot."""
    function_type = ir.FunctionType(FLOATS, [FLOATS] * 3)
    fma_function = cgutils.get_or_insert_function(builder.module, function_type, f"llvm.fmuladd.v{LANES}f32")
    return builder.call(fma_function, [x, y, z])


def _address(
    context: Any, builder: ir.IRBuilder, array_type: types.Array, array: ir.Value, offset: ir.Value
) -> ir.Value:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [offset]), FLOATS.as_pointer())


def _emit_load(
    context: Any, builder: ir.IRBuilder, array_type: types.Array, array: ir.Value, offset: ir.Value
) -> ir.Value:
    return builder.load(_address(context, builder, array_type, array, offset), align=4)


@intrinsic
def load(typingctx: Any, array: types.Type, offset: types.Type) -> Any:
    """16 numbers of a C-contiguous float32 array from the flat element ``offset`` on."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return _emit_load(context, builder, signature.args[0], *args)

    return float32x16(array, types.int64), generate


@intrinsic
def store(typingctx: Any, array: types.Type, offset: types.Type, vector: types.Type) -> Any:
    """Write 16 numbers into a C-contiguous float32 array from the flat element ``offset`` on."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        address = _address(context, builder, signature.args[0], args[0], args[1])
        builder.store(args[2], address, align=4)
        return context.get_dummy_value()

    return types.void(array, types.int64, vector), generate


@intrinsic
def prefetch(typingctx: Any, array: types.Type, offset: types.Type) -> Any:
    """Ask for the cache line of a flat element to be brought into the second-level cache."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        byte_pointer = ir.IntType(8).as_pointer()
        function_type = ir.FunctionType(ir.VoidType(), [byte_pointer, _I32, _I32, _I32])
        function = builder.module.declare_intrinsic("llvm.prefetch", [byte_pointer], function_type)
        address = builder.bitcast(_address(context, builder, signature.args[0], *args), byte_pointer)
        read, second_level, data = (ir.Constant(_I32, value) for value in (0, 2, 1))
        builder.call(function, [address, read, second_level, data])
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


@intrinsic
def splat(typingctx: Any, number: types.Type) -> Any:
    """16 copies of one float32 number."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        undefined = ir.Constant(FLOATS, ir.Undefined)
        first_lane = builder.insert_element(undefined, args[0], ir.Constant(_I32, 0))
        return builder.shuffle_vector(first_lane, undefined, integer_constant(0))

    return float32x16(types.float32), generate


@intrinsic
def fma(typingctx: Any, x: types.Type, y: types.Type, z: types.Type) -> Any:
    """``x * y + z``."""
    return float32x16(x, y, z), lambda context, builder, signature, args: emit_fma(builder, *args)


def _define_operator(python_operator: Callable[..., Any], instruction: str) -> None:
    """Let ``python_operator`` between two vectors emit ``instruction``."""

    @intrinsic
    def operation(typingctx: Any, x: types.Type, y: types.Type) -> Any:
        return float32x16(x, y), lambda context, builder, signature, args: getattr(builder, instruction)(
            *args
        )

    @overload(python_operator)
    def choose(x, y):  # type: ignore[no-untyped-def]
        if isinstance(x, Float32x16) and isinstance(y, Float32x16):
            return lambda x, y: operation(x, y)
        return None


_define_operator(operator.add, "fadd")
_define_operator(operator.sub, "fsub")
_define_operator(operator.mul, "fmul")
_define_operator(operator.truediv, "fdiv")


@intrinsic
def select_negative(typingctx: Any, x: types.Type, if_negative: types.Type, otherwise: types.Type) -> Any:
    """Lane by lane ``if_negative if x < 0 else otherwise``; a NaN in ``x`` is not negative."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        negative = builder.fcmp_ordered("<", args[0], float_constant(0.0))
        return builder.select(negative, args[1], args[2])

    return float32x16(x, if_negative, otherwise), generate


def _emit_row_sums(builder: ir.IRBuilder, rows: list[ir.Value]) -> ir.Value:
    """Add up 16 rows across their lanes: lane i of the result is the sum of row i.

    Pairs of rows are interleaved and added until one vector is left: 15 additions and 30 shuffles in place of
    16 separate reductions of 4 additions and 4 shuffles each. The order of the additions is fixed.
    """

    def shuffle(x: ir.Value, y: ir.Value, order: list[int]) -> ir.Value:
        return builder.shuffle_vector(x, y, ir.Constant(INTEGERS, order))

    def quarters(first: list[int]) -> list[int]:
        return [
            4 * quarter + lane if lane < 4 else 12 + 4 * quarter + lane
            for quarter in range(4)
            for lane in first
        ]

    # In each quarter of 4 lanes (numbers from 4 on mean the second operand): interleave single lanes, then
    # pairs.
    halves_in_quarters = [([0, 4, 1, 5], [2, 6, 3, 7]), ([0, 1, 4, 5], [2, 3, 6, 7])]
    low_high = [(quarters(low), quarters(high)) for low, high in halves_in_quarters]
    # Then whole quarters: the even ones of both operands plus the odd ones, twice.
    even = [lane + 4 * quarter for quarter in (0, 2, 4, 6) for lane in range(4)]
    odd = [lane + 4 * quarter for quarter in (1, 3, 5, 7) for lane in range(4)]
    levels = [*low_high, (even, odd), (even, odd)]

    def reduce(first: int, level: int) -> ir.Value:
        if level < 0:
            return rows[first]
        x, y = reduce(first, level - 1), reduce(first + 2**level, level - 1)
        low, high = levels[level]
        return builder.fadd(shuffle(x, y, low), shuffle(x, y, high))

    return reduce(0, len(levels) - 1)


@intrinsic
def row_sums(typingctx: Any, array: types.Type, offset: types.Type) -> Any:
    """The sums of 16 consecutive rows of 16 numbers, from the flat element ``offset`` on."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        rows = []
        for row in range(LANES):
            row_offset = builder.add(args[1], ir.Constant(args[1].type, row * LANES))
            rows.append(_emit_load(context, builder, signature.args[0], args[0], row_offset))
        return _emit_row_sums(builder, rows)

    return float32x16(array, types.int64), generate


@njit(nogil=True)
def zeros_aligned(size):  # type: ignore[no-untyped-def]
    """``size`` float32 zeros that begin on a cache line, so that no vector straddles two."""
    memory = np.zeros(size + LANES, dtype=np.float32)
    first = (-memory.ctypes.data // 4) % LANES
    return memory[first : first + size]


@njit(nogil=True)
def clear(array):  # type: ignore[no-untyped-def]
    """Fill an array of whole vectors with 0. (Numba's slice assignment takes seconds to compile.)"""
    for i in range(0, array.size, LANES):
        store(array, i, splat(np.float32(0.0)))


@njit(nogil=True)
def copy_vectors(source, target, offset):  # type: ignore[no-untyped-def]
    """Copy an array of whole vectors into ``target`` from the flat element ``offset`` on."""
    for i in range(0, source.size, LANES):
        store(target, offset + i, load(source, i))
