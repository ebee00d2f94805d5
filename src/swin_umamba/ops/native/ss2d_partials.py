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
from swin_umamba.ops.native.vector import LANES, load, pointer, store, zeros_aligned


@njit(nogil=True)
def sum_rows(dt_rank, d_state):  # type: ignore[no-untyped-def]
    """Return the number of sums per step."""
    return padded(dt_rank) + 2 * d_state


@kernel
def add_partials(  # type: ignore[no-untyped-def]
    batch, direction, first_chunk, last_chunk, height, width, dt_rank, partial, grad_x_dbl
):
    """Add up the groups' partial gradients of some chunks, in order, and store them at their pixels.

    ``partial`` is (batch, groups, chunks, numbers of a chunk).
    """
    length, directions, columns = grad_x_dbl.shape[1:]
    groups, chunks, size = partial.shape[1:]
    pixels = new_pixels()
    stride = (columns + LANES - 1) // LANES * LANES
    total, turned = zeros_aligned(stride * LANES), zeros_aligned(CHUNK * stride)
    for chunk in range(first_chunk, last_chunk):
        first_step = chunk * CHUNK
        steps = min(CHUNK, length - first_step)
        first = (batch * groups * chunks + chunk) * size
        for half in range((steps + LANES - 1) // LANES):
            # 1. The sums over the groups.
            for column in range(columns):
                row = column if column < dt_rank else column + padded(dt_rank) - dt_rank
                place = first + half * (size // 2) + row * LANES
                column_total = load(partial, place)
                for group in range(1, groups):
                    column_total = column_total + load(partial, place + group * chunks * size)
                store(total, column * LANES, column_total)
            # 2. From a row for each column to one for each step.
            for column in range(0, columns, LANES):
                target = pointer(turned, half * LANES * stride + column)
                transpose(pointer(total, column * LANES), LANES, target, stride)
        # 3. To their pixels.
        visit_pixels(direction, first_step, steps, height, width, pixels)
        for t in range(steps):
            target = ((batch * length + pixels[t]) * directions + direction) * columns
            copy_numbers(pointer(turned, t * stride), pointer(grad_x_dbl, target), columns)
