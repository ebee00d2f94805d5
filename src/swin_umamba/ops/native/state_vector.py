"""Vectors that hold several states of the same 16 channels, and sums across the lanes of a vector.

``STATES`` states advance together as one vector of 64 numbers, the rest of d_state one by one: they share
what is loaded and stored per step, and hide each other's latency. The first argument of the functions here,
``like``, says how many states to work on; LLVM splits a vector into the machine's.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from swin_umamba.ops.native.vector import (
    LANES,
    Float32Vector,
    emit_fma,
    emit_splat,
    float32x16,
    floats,
    integers,
    number_address,
    splat,
    vector_address,
)

STATES = 4

_float32x64 = Float32Vector(STATES * LANES)
EIGHT = 8
_float32x128, _float32x8 = Float32Vector(EIGHT * LANES), Float32Vector(EIGHT)


@intrinsic
def lanes_of(typingctx: Any, x: types.Type) -> Any:
    """Return how many numbers ``x`` holds."""
    return types.int64(x), lambda context, builder, signature, args: ir.Constant(ir.IntType(64), x.lanes)


@intrinsic
def several_states(typingctx: Any) -> Any:
    """Return zeros for ``STATES`` states of 16 channels, to be passed as ``like``."""
    zeros = ir.Constant(floats(_float32x64.lanes), None)
    return _float32x64(), lambda context, builder, signature, args: zeros


@intrinsic
def eight_vectors(typingctx: Any) -> Any:
    """Return zeros for eight vectors of 16 channels: enough sums to hide the latency of an addition."""
    zeros = ir.Constant(floats(_float32x128.lanes), None)
    return _float32x128(), lambda context, builder, signature, args: zeros


@intrinsic
def eight_numbers(typingctx: Any) -> Any:
    """Return zeros for half a vector, to be passed to ``load_like``."""
    zeros = ir.Constant(floats(_float32x8.lanes), None)
    return _float32x8(), lambda context, builder, signature, args: zeros


@njit(nogil=True)
def one_state():  # type: ignore[no-untyped-def]
    """Return the same as ``several_states``, for one."""
    return splat(np.float32(0.0))


def _part(builder: ir.IRBuilder, vector: ir.Value, state: int) -> ir.Value:
    lanes = list(range(state * LANES, (state + 1) * LANES))
    return builder.shuffle_vector(vector, vector, ir.Constant(integers(LANES), lanes))


def _joined(builder: ir.IRBuilder, vectors: list[ir.Value]) -> ir.Value:
    """Join the lanes of vectors, whose number is a power of two, into one vector."""
    while len(vectors) > 1:
        lanes = ir.Constant(integers(2 * vectors[0].type.count), list(range(2 * vectors[0].type.count)))
        pairs = zip(vectors[::2], vectors[1::2], strict=True)
        vectors = [builder.shuffle_vector(first, second, lanes) for first, second in pairs]
    return vectors[0]


@intrinsic
def load_like(typingctx: Any, like: types.Type, memory: types.Type, offset: types.Type) -> Any:
    """Load, as ``load`` does, a vector as long as ``like``: the same 16 channels of one or several states."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        _, memory, first = args
        address = vector_address(context, builder, signature.args[1], memory, first, like.lanes)
        return builder.load(address, align=4)

    return like(like, memory, types.int64), generate


@intrinsic
def broadcast_strided(
    typingctx: Any, like: types.Type, memory: types.Type, offset: types.Type, stride: types.Type
) -> Any:
    """Return 16 copies of a number for each state in ``like``: the flat element ``offset``, and so on."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        _, memory, offset, stride = args
        numbers = []
        for i in range(like.lanes // LANES):
            position = builder.add(offset, builder.mul(stride, ir.Constant(stride.type, i)))
            numbers.append(
                builder.load(number_address(context, builder, signature.args[1], memory, position))
            )
        return _joined(builder, [emit_splat(builder, number) for number in numbers])

    return like(like, memory, types.int64, types.int64), generate


@njit(nogil=True)
def broadcast_like(like, memory, offset):  # type: ignore[no-untyped-def]
    """Do as ``broadcast_strided`` with neighbouring numbers."""
    return broadcast_strided(like, memory, offset, 1)


@intrinsic
def repeat_like(typingctx: Any, like: types.Type, x: types.Type) -> Any:
    """Repeat the 16 channels of ``x`` once for each state in ``like``."""
    return like(like, x), lambda context, builder, signature, args: _joined(
        builder, [args[1]] * (like.lanes // LANES)
    )


@intrinsic
def add_products(typingctx: Any, x: types.Type, y: types.Type, total: types.Type) -> Any:
    """Add to ``total`` (16 channels) the sum of ``x * y`` over the states, one state after another."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        result = args[2]
        for state in range(x.lanes // LANES):
            x_part, y_part = _part(builder, args[0], state), _part(builder, args[1], state)
            result = emit_fma(builder, x_part, y_part, result)
        return result

    return total(x, y, total), generate


def _emit_row_sums(
    builder: ir.IRBuilder, row: Callable[[int], ir.Value], first: int, distance: int
) -> ir.Value:
    """Add up rows of 16 numbers across their lanes: lane i of the result is the sum of row i.

    Two vectors become one: of the lanes i and i + distance, the former takes the sum of the first vector, the
    latter that of the second. That takes 15 additions for 16 rows, in a fixed order, depth first, so that few
    rows are in registers at a time.
    """
    if distance == LANES:
        return row(first)
    low = _emit_row_sums(builder, row, first, 2 * distance)
    high = _emit_row_sums(builder, row, first + distance, 2 * distance)
    in_place = [lane + LANES * bool(lane & distance) for lane in range(LANES)]
    across = [(lane ^ distance) + LANES * bool(lane & distance) for lane in range(LANES)]
    return builder.fadd(
        builder.shuffle_vector(low, high, ir.Constant(integers(LANES), in_place)),
        builder.shuffle_vector(low, high, ir.Constant(integers(LANES), across)),
    )


@intrinsic
def row_sums(typingctx: Any, x: types.Type, offset: types.Type) -> Any:
    """Return the sums of 16 rows of 16 numbers, one after the other from the flat element ``offset`` on."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        def row(index: int) -> ir.Value:
            place = builder.add(args[1], ir.Constant(args[1].type, index * LANES))
            return builder.load(vector_address(context, builder, signature.args[0], args[0], place), align=4)

        return _emit_row_sums(builder, row, 0, 1)

    return float32x16(x, types.int64), generate


@intrinsic
def row_products(
    typingctx: Any,
    x: types.Type,
    x_offset: types.Type,
    x_stride: types.Type,
    y: types.Type,
    y_offset: types.Type,
) -> Any:
    """Return the scalar products of 16 rows of 16 numbers of ``x`` with those of ``y``, one per lane.

    The rows of ``x`` begin ``x_stride`` numbers apart, those of ``y`` 16.
    """

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        def row(index: int) -> ir.Value:
            constant = functools.partial(ir.Constant, args[1].type)
            x_row = builder.add(args[1], builder.mul(args[2], constant(index)))
            y_row = builder.add(args[4], constant(index * LANES))
            rows = [(signature.args[0], args[0], x_row), (signature.args[3], args[3], y_row)]
            addresses = [vector_address(context, builder, *row) for row in rows]
            return builder.fmul(*(builder.load(address, align=4) for address in addresses))

        return _emit_row_sums(builder, row, 0, 1)

    return float32x16(x, types.int64, types.int64, y, types.int64), generate
