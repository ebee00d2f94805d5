"""Blocks of 16 x 16 numbers turned on their side, and short rows of numbers copied.

Parameters and gradients in PyTorch's order have the channels outside; the kernels want them in the lanes of a
vector.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from swin_umamba.ops.native.state_vector import EIGHT, eight_numbers, load_like
from swin_umamba.ops.native.vector import LANES, integers, load, pointer, store, vector_address

# Sources of the lanes of a vector, counted through two vectors: see ``_emit_transposed``.
_LOW_NUMBERS = [lane + i + LANES * second for lane in range(0, LANES, 4) for i in (0, 1) for second in (0, 1)]
_HIGH_NUMBERS = [lane + 2 for lane in _LOW_NUMBERS]
_LOW_PAIRS = [lane + LANES * second + i for lane in range(0, LANES, 4) for second in (0, 1) for i in (0, 1)]
_HIGH_PAIRS = [lane + 2 for lane in _LOW_PAIRS]
_EVEN_QUARTERS = [start + i for start in (0, 8, 16, 24) for i in range(4)]
_ODD_QUARTERS = [lane + 4 for lane in _EVEN_QUARTERS]


def _emit_transposed(builder: ir.IRBuilder, rows: list[ir.Value]) -> list[ir.Value]:
    """Emit the columns of 16 rows of 16 numbers: 64 shuffles, of kinds that machines do in one instruction.

    First 4 x 4 blocks are transposed within each quarter of the vectors: afterwards vector ``4 * g + i``
    holds in quarter q the column ``4 * q + i`` of the rows ``4 * g`` to ``4 * g + 3``. Then whole quarters
    move.
    """

    def shuffle(first: ir.Value, second: ir.Value, lanes: list[int]) -> ir.Value:
        return builder.shuffle_vector(first, second, ir.Constant(integers(LANES), lanes))

    groups = []
    for first in range(0, LANES, 4):
        a, b, c, d = rows[first : first + 4]
        low_ab, high_ab = shuffle(a, b, _LOW_NUMBERS), shuffle(a, b, _HIGH_NUMBERS)
        low_cd, high_cd = shuffle(c, d, _LOW_NUMBERS), shuffle(c, d, _HIGH_NUMBERS)
        pairs = [(low_ab, low_cd), (high_ab, high_cd)]
        groups.append([shuffle(*pair, lanes) for pair in pairs for lanes in (_LOW_PAIRS, _HIGH_PAIRS)])
    columns: list[ir.Value] = [None] * LANES
    for i, (a, b, c, d) in enumerate(zip(*groups, strict=True)):
        for parity, lanes in enumerate((_EVEN_QUARTERS, _ODD_QUARTERS)):
            first, second = shuffle(a, b, lanes), shuffle(c, d, lanes)
            columns[4 * parity + i] = shuffle(first, second, _EVEN_QUARTERS)
            columns[4 * (parity + 2) + i] = shuffle(first, second, _ODD_QUARTERS)
    return columns


@intrinsic
def _transpose(
    typingctx: Any,
    source: types.Type,
    source_stride: types.Type,
    target: types.Type,
    target_stride: types.Type,
) -> Any:
    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        def address(memory: int, row: int) -> ir.Value:
            offset = builder.mul(args[memory + 1], ir.Constant(args[memory + 1].type, row))
            return vector_address(context, builder, signature.args[memory], args[memory], offset)

        rows = [builder.load(address(0, row), align=4) for row in range(LANES)]
        for row, column in enumerate(_emit_transposed(builder, rows)):
            builder.store(column, address(2, row), align=4)
        return context.get_dummy_value()

    return types.void(source, types.int64, target, types.int64), generate


@njit(nogil=True)
def transpose(source, source_stride, target, target_stride):  # type: ignore[no-untyped-def]
    """Write the columns of 16 rows of 16 numbers as rows; rows begin a stride apart."""
    _transpose(source, source_stride, target, target_stride)


@njit(nogil=True)
def channels_last(source, numbers, target):  # type: ignore[no-untyped-def]
    """Copy (16, numbers) into (numbers, 16)."""
    if numbers < LANES:
        for lane in range(LANES):
            for i in range(numbers):
                target[i * LANES + lane] = source[lane * numbers + i]
        return
    for i in range(0, numbers - LANES, LANES):
        transpose(pointer(source, i), numbers, pointer(target, i * LANES), LANES)
    # The last block ends with the rows and may overlap the previous one.
    i = numbers - LANES
    transpose(pointer(source, i), numbers, pointer(target, i * LANES), LANES)


@njit(nogil=True)
def channels_first(source, numbers, target):  # type: ignore[no-untyped-def]
    """Copy (numbers, 16) into (16, numbers)."""
    if numbers < LANES:
        for lane in range(LANES):
            for i in range(numbers):
                target[lane * numbers + i] = source[i * LANES + lane]
        return
    for i in range(0, numbers - LANES, LANES):
        transpose(pointer(source, i * LANES), LANES, pointer(target, i), numbers)
    i = numbers - LANES
    transpose(pointer(source, i * LANES), LANES, pointer(target, i), numbers)


@njit(nogil=True)
def copy_numbers(source, target, count):  # type: ignore[no-untyped-def]
    """Copy any number of numbers; the last whole vector may overlap the one before."""
    if count >= LANES:
        for i in range(0, count - LANES, LANES):
            store(target, i, load(source, i))
        store(target, count - LANES, load(source, count - LANES))
    elif count >= EIGHT:
        like = eight_numbers()
        store(target, 0, load_like(like, source, 0))
        store(target, count - EIGHT, load_like(like, source, count - EIGHT))
    else:
        for i in range(count):
            target[i] = source[i]
