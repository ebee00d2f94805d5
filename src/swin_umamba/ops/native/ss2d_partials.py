"""The gradient of ``x_dbl``: each work item sums over its own channels, ``add_partials`` over the items.

The sums of a chunk are (2, sum rows, 16 steps): in each half of the chunk, a row for every rank of dt, padded
to whole groups of eight, and one for every state of B, then C. The order of summation is fixed, so that no
bit depends on the number of threads.
"""

from __future__ import annotations

from numba import njit

from swin_umamba.ops.native.chunk import CHUNK
from swin_umamba.ops.native.compile import kernel
from swin_umamba.ops.native.projection import padded
from swin_umamba.ops.native.ss2d_tiles import new_pixels, visit_pixels
from swin_umamba.ops.native.transpose import copy_numbers, transpose
from swin_umamba.ops.native.vector import LANES, copy_vectors, load, pointer, store, zeros_aligned


@njit(nogil=True)
def sum_rows(dt_rank, d_state):  # type: ignore[no-untyped-def]
    """Return the number of sums per step."""
    return padded(dt_rank) + 2 * d_state


@kernel
def add_partials(  # type: ignore[no-untyped-def]
    batch, direction, first_chunk, last_chunk, height, width, dt_rank, partial, grad_x_dbl
):
    """Add up the groups' partial gradients of some chunks, in order, and store them at their pixels."""
    length, directions, columns = grad_x_dbl.shape[1:]
    rows = sum_rows(dt_rank, (columns - dt_rank) // 2)
    groups, chunks, size = partial.shape[1:]
    pixels = new_pixels()
    stride = (rows + LANES - 1) // LANES * LANES
    total, turned = zeros_aligned(size + LANES * LANES), zeros_aligned(CHUNK * stride)
    for chunk in range(first_chunk, last_chunk):
        # 1. The sums over the groups.
        copy_vectors(pointer(partial, (batch * groups * chunks + chunk) * size), pointer(total, 0), size)
        for group in range(1, groups):
            first = ((batch * groups + group) * chunks + chunk) * size
            for i in range(0, size, LANES):
                store(total, i, load(total, i) + load(partial, first + i))
        # 2. From a row for each sum to one for each step, and to its pixel.
        for half in range(2):
            for row in range(0, rows, LANES):
                source = pointer(total, (half * rows + row) * LANES)
                transpose(source, LANES, pointer(turned, half * LANES * stride + row), stride)
        first_step = chunk * CHUNK
        steps = min(CHUNK, length - first_step)
        visit_pixels(direction, first_step, steps, height, width, pixels)
        for t in range(steps):
            target = ((batch * length + pixels[t]) * directions + direction) * columns
            source = t * stride
            copy_numbers(pointer(turned, source), pointer(grad_x_dbl, target), dt_rank)
            copy_numbers(
                pointer(turned, source + padded(dt_rank)),
                pointer(grad_x_dbl, target + dt_rank),
                columns - dt_rank,
            )
