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
_HALF = LANES // 2
_HALF_FLOATS = ir.VectorType(ir.FloatType(), _HALF)


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
    function_type = ir.FunctionType(x.type, [x.type] * 3)
    name = f"llvm.fmuladd.v{x.type.count}f32"
    return builder.call(cgutils.get_or_insert_function(builder.module, function_type, name), [x, y, z])


def _address(
    context: Any, builder: ir.IRBuilder, array_type: types.Array, array: ir.Value, offset: ir.Value
) -> ir.Value:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [offset]), FLOATS.as_pointer())


@intrinsic
def load(typingctx: Any, array: types.Type, offset: types.Type) -> Any:
    """16 numbers of a C-contiguous float32 array from the flat element ``offset`` on."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return builder.load(_address(context, builder, signature.args[0], *args), align=4)

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


def _emit_splat(builder: ir.IRBuilder, number: ir.Value) -> ir.Value:
    undefined = ir.Constant(FLOATS, ir.Undefined)
    first_lane = builder.insert_element(undefined, number, ir.Constant(_I32, 0))
    return builder.shuffle_vector(first_lane, undefined, integer_constant(0))


@intrinsic
def splat(typingctx: Any, number: types.Type) -> Any:
    """16 copies of one float32 number."""
    return float32x16(types.float32), lambda context, builder, signature, args: _emit_splat(builder, *args)


@intrinsic
def broadcast(typingctx: Any, array: types.Type, offset: types.Type) -> Any:
    """16 copies of the flat element ``offset`` of a C-contiguous float32 array.

    Numba's own indexing would look at each step whether the index is negative.
    """

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return _emit_splat(builder, builder.load(builder.gep(data, [args[1]])))

    return float32x16(array, types.int64), generate


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
    """Add up 8 rows of 8 numbers across their lanes: lane i of the result is the sum of row i.

    Pairs of rows are interleaved and added until one vector is left: 7 additions and 14 shuffles in place of
    8 separate reductions of 3 additions and 3 shuffles each. The order of the additions is fixed.
    """
    # Lanes from 8 on are those of the second operand. Within each half: interleave single lanes, then pairs;
    # at last whole halves.
    levels = [
        ([0, 8, 1, 9, 4, 12, 5, 13], [2, 10, 3, 11, 6, 14, 7, 15]),
        ([0, 1, 8, 9, 4, 5, 12, 13], [2, 3, 10, 11, 6, 7, 14, 15]),
        ([0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15]),
    ]
    indices = ir.VectorType(_I32, _HALF)
    for low, high in levels:
        rows = [
            builder.fadd(
                builder.shuffle_vector(x, y, ir.Constant(indices, low)),
                builder.shuffle_vector(x, y, ir.Constant(indices, high)),
            )
            for x, y in zip(rows[::2], rows[1::2], strict=True)
        ]
    return rows[0]


@intrinsic
def row_products(
    typingctx: Any, x: types.Type, x_offset: types.Type, y: types.Type, y_offset: types.Type
) -> Any:
    """Scalar products of 16 consecutive rows of 16 numbers of ``x`` with those of ``y``: a number per lane.

    The halves of a row are loaded apart, so that their sum needs no shuffle.
    """

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        def half_row(operand: int, row: int, half: int) -> ir.Value:
            start = args[operand + 1]
            offset = builder.add(start, ir.Constant(start.type, row * LANES + half * _HALF))
            address = _address(context, builder, signature.args[operand], args[operand], offset)
            return builder.load(builder.bitcast(address, _HALF_FLOATS.as_pointer()), align=4)

        products = []
        for row in range(LANES):
            low = builder.fmul(half_row(0, row, 0), half_row(2, row, 0))
            products.append(emit_fma(builder, half_row(0, row, 1), half_row(2, row, 1), low))
        sums = [_emit_row_sums(builder, products[:_HALF]), _emit_row_sums(builder, products[_HALF:])]
        return builder.shuffle_vector(*sums, ir.Constant(INTEGERS, list(range(LANES))))

    return float32x16(x, types.int64, y, types.int64), generate


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
