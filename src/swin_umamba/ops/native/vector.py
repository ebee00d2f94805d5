"""A vector of 16 float32 numbers as a Numba type, so that the kernels vectorise by construction.

With a plain inner loop over 16 channels the optimiser decides whether the states stay in registers; they do
not, because it cannot prove that the work arrays do not overlap. Here the vector is a value of LLVM type
``<16 x float>``, which LLVM splits into whatever the machine has (one AVX-512, two AVX2 or four NEON
registers).

No fast-math flag is set anywhere: every operation is the IEEE one, so that NaN and infinity propagate as they
should. ``fma`` rounds once on machines with fused multiply-add and twice on the few without.
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

INT32 = ir.IntType(32)


class Float32Vector(types.Type):
    """The Numba type of a vector of float32 numbers, used only inside kernels."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        super().__init__(name=f"Float32x{lanes}")


float32x16 = Float32Vector(LANES)
float32_pointer = types.CPointer(types.float32)


@register_model(Float32Vector)
class _Float32VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, numba_type: types.Type) -> None:
        super().__init__(manager, numba_type, floats(numba_type.lanes))


def floats(lanes: int) -> ir.VectorType:
    """Return the LLVM type of a vector of float32 numbers."""
    return ir.VectorType(ir.FloatType(), lanes)


def integers(lanes: int) -> ir.VectorType:
    """Return the LLVM type of as many int32 numbers."""
    return ir.VectorType(INT32, lanes)


def float_constant(value: float, like: ir.Value) -> ir.Constant:
    """Return copies of ``value``, rounded to float32, as an LLVM constant with the lanes of ``like``."""
    return ir.Constant(like.type, [float(np.float32(value))] * like.type.count)


def integer_constant(value: int, lanes: int) -> ir.Constant:
    """Return copies of the int32 ``value`` as an LLVM constant."""
    return ir.Constant(integers(lanes), [value] * lanes)


def emit_fma(builder: ir.IRBuilder, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
    """Emit ``x * y + z``: fused if the machine can, but never a slow library call if it cannot."""
    function_type = ir.FunctionType(x.type, [x.type] * 3)
    name = f"llvm.fmuladd.v{x.type.count}f32"
    return builder.call(cgutils.get_or_insert_function(builder.module, function_type, name), [x, y, z])


def vector_address(
    context: Any,
    builder: ir.IRBuilder,
    kind: types.Type,
    memory: ir.Value,
    offset: ir.Value,
    lanes: int = LANES,
) -> ir.Value:
    """Return the address of the vector that begins at a flat element."""
    return builder.bitcast(number_address(context, builder, kind, memory, offset), floats(lanes).as_pointer())


def number_address(
    context: Any, builder: ir.IRBuilder, kind: types.Type, memory: ir.Value, offset: ir.Value
) -> ir.Value:
    """Return the address of a flat element of an array, or counted from a pointer."""
    first = memory if kind == float32_pointer else context.make_array(kind)(context, builder, memory).data
    return builder.gep(first, [offset])


@intrinsic
def pointer(typingctx: Any, memory: types.Type, offset: types.Type) -> Any:
    """Return the address of the flat element ``offset`` of a C-contiguous float32 array or another pointer.

    The inner functions work on pointers: a slice of an array would cost two atomic operations on its
    reference count, and a dozen numbers to pass along. A pointer keeps no array alive, so take it inside the
    loop that goes on to use the array.
    """

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return number_address(context, builder, signature.args[0], *args)

    return float32_pointer(memory, types.int64), generate


@intrinsic
def load(typingctx: Any, memory: types.Type, offset: types.Type) -> Any:
    """Load 16 numbers from the flat element ``offset`` on, of a C-contiguous float32 array or a pointer."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return builder.load(vector_address(context, builder, signature.args[0], *args), align=4)

    return float32x16(memory, types.int64), generate


@intrinsic
def store(typingctx: Any, memory: types.Type, offset: types.Type, vector: types.Type) -> Any:
    """Write a vector into a C-contiguous float32 array or to a pointer, starting at a flat element."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        address = vector_address(context, builder, signature.args[0], args[0], args[1], vector.lanes)
        builder.store(args[2], address, align=4)
        return context.get_dummy_value()

    return types.void(memory, types.int64, vector), generate


@intrinsic
def stream(typingctx: Any, memory: types.Type, offset: types.Type, vector: types.Type) -> Any:
    """Store to whole cache lines that are not read soon: past the caches, without fetching them first."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        address = vector_address(context, builder, signature.args[0], args[0], args[1], vector.lanes)
        instruction = builder.store(args[2], address, align=64)
        instruction.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(INT32, 1)]))
        return context.get_dummy_value()

    return types.void(memory, types.int64, vector), generate


@intrinsic
def prefetch(typingctx: Any, memory: types.Type, offset: types.Type) -> Any:
    """Ask for the cache line of a flat element to be brought into the second-level cache."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        byte_pointer = ir.IntType(8).as_pointer()
        function_type = ir.FunctionType(ir.VoidType(), [byte_pointer, INT32, INT32, INT32])
        function = builder.module.declare_intrinsic("llvm.prefetch", [byte_pointer], function_type)
        address = builder.bitcast(vector_address(context, builder, signature.args[0], *args), byte_pointer)
        read, second_level, data = (ir.Constant(INT32, value) for value in (0, 2, 1))
        builder.call(function, [address, read, second_level, data])
        return context.get_dummy_value()

    return types.void(memory, types.int64), generate


def emit_splat(builder: ir.IRBuilder, number: ir.Value) -> ir.Value:
    """Emit 16 copies of a number."""
    undefined = ir.Constant(floats(LANES), ir.Undefined)
    first_lane = builder.insert_element(undefined, number, ir.Constant(INT32, 0))
    return builder.shuffle_vector(first_lane, undefined, integer_constant(0, LANES))


@intrinsic
def splat(typingctx: Any, number: types.Type) -> Any:
    """Return 16 copies of one float32 number."""
    return float32x16(types.float32), lambda context, builder, signature, args: emit_splat(builder, *args)


@intrinsic
def broadcast(typingctx: Any, memory: types.Type, offset: types.Type) -> Any:
    """Return 16 copies of the flat element ``offset`` of a C-contiguous float32 array or a pointer.

    Numba's own indexing would check at each step whether the index is negative.
    """

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return emit_splat(builder, builder.load(number_address(context, builder, signature.args[0], *args)))

    return float32x16(memory, types.int64), generate


@intrinsic
def fma(typingctx: Any, x: types.Type, y: types.Type, z: types.Type) -> Any:
    """Return ``x * y + z``."""
    return x(x, y, z), lambda context, builder, signature, args: emit_fma(builder, *args)


def _define_operator(python_operator: Callable[..., Any], instruction: str) -> None:
    """Let ``python_operator`` between two vectors emit ``instruction``."""

    @intrinsic
    def operation(typingctx: Any, x: types.Type, y: types.Type) -> Any:
        return x(x, y), lambda context, builder, signature, args: getattr(builder, instruction)(*args)

    @overload(python_operator)
    def choose(x, y):  # type: ignore[no-untyped-def]
        if isinstance(x, Float32Vector) and x == y:
            return lambda x, y: operation(x, y)
        return None


_define_operator(operator.add, "fadd")
_define_operator(operator.sub, "fsub")
_define_operator(operator.mul, "fmul")
_define_operator(operator.truediv, "fdiv")


@intrinsic
def select_negative(typingctx: Any, x: types.Type, if_negative: types.Type, otherwise: types.Type) -> Any:
    """Select lane by lane ``if_negative if x < 0 else otherwise``; a NaN in ``x`` is not negative."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        negative = builder.fcmp_ordered("<", args[0], float_constant(0.0, args[0]))
        return builder.select(negative, args[1], args[2])

    return x(x, if_negative, otherwise), generate


@njit(nogil=True)
def zeros_aligned(size):  # type: ignore[no-untyped-def]
    """Return ``size`` float32 zeros that begin on a cache line, so that no vector straddles two."""
    memory = np.zeros(size + LANES, dtype=np.float32)
    first = (-memory.ctypes.data // 4) % LANES
    return memory[first : first + size]


@njit(nogil=True)
def clear(memory, size):  # type: ignore[no-untyped-def]
    """Fill ``size`` numbers, whole vectors, with 0: Numba takes seconds to compile a slice assignment."""
    for i in range(0, size, LANES):
        store(memory, i, splat(np.float32(0.0)))


@njit(nogil=True)
def copy_vectors(source, target, size):  # type: ignore[no-untyped-def]
    """Copy ``size`` numbers, whole vectors."""
    for i in range(0, size, LANES):
        store(target, i, load(source, i))


@njit(nogil=True)
def stream_vectors(source, target, size):  # type: ignore[no-untyped-def]
    """Copy like ``copy_vectors``, to memory that begins on a cache line and is not read soon."""
    for i in range(0, size, LANES):
        stream(target, i, load(source, i))
