"""The gradient of ``x_dbl``: each work item sums over its own channels, ``add_partials`` over the items.

The order of summation is fixed, so that no bit depends on the number of threads.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numba import njit

from swin_umamba.ops.native.chunk import CHUNK
from swin_umamba.ops.native.compile import kernel
from swin_umamba.ops.native.ss2d_tiles import new_pixels, visit_pixels
from swin_umamba.ops.native.vector import LANES, copy_vectors, load, pointer, store, zeros_aligned


class RowSums(NamedTuple):
    """Pointers to the gradients of a chunk's rows of ``x_dbl``, summed over the channels of an item."""

    B: Any  # (d_state, chunk), as is C
    C: Any
    dt_low: Any  # (chunk, dt_rank padded to whole vectors)


@njit(nogil=True)
def padded(dt_rank):  # type: ignore[no-untyped-def]
    """Round ``dt_rank`` up to whole vectors."""
    return (dt_rank + LANES - 1) // LANES * LANES


@njit(nogil=True)
def new_row_sums(dt_rank, d_state):  # type: ignore[no-untyped-def]
    """Return zeros for ``row_sums_in``."""
    return zeros_aligned((2 * d_state + padded(dt_rank)) * CHUNK)


@njit(nogil=True)
def row_sums_in(memory, d_state):  # type: ignore[no-untyped-def]
    """Return the sums in an array of ``new_row_sums``."""
    size = d_state * CHUNK
    return RowSums(pointer(memory, 0), pointer(memory, size), pointer(memory, 2 * size))


@kernel
def add_partials(  # type: ignore[no-untyped-def]
    batch, direction, first_chunk, last_chunk, height, width, dt_rank, partial, grad_x_dbl
):
    """Add up the groups' partial gradients of some chunks, in order, and store them at their pixels."""
    length, columns = grad_x_dbl.shape[1], grad_x_dbl.shape[3]
    d_state, padded_rank = (columns - dt_rank) // 2, padded(dt_rank)
    groups, chunks, size = partial.shape[1:]
    pixels = new_pixels()
    total = zeros_aligned(size)
    grad_B = total[: d_state * CHUNK].reshape(d_state, CHUNK)
    grad_C = total[d_state * CHUNK : 2 * d_state * CHUNK].reshape(d_state, CHUNK)
    grad_dt_low = total[2 * d_state * CHUNK :].reshape(CHUNK, padded_rank)
    for chunk in range(first_chunk, last_chunk):
        copy_vectors(pointer(partial, (batch * groups * chunks + chunk) * size), total, size)
        for group in range(1, groups):
            first = ((batch * groups + group) * chunks + chunk) * size
            for i in range(0, size, LANES):
                store(total, i, load(total, i) + load(partial, first + i))
        first_step = chunk * CHUNK
        steps = min(CHUNK, length - first_step)
        visit_pixels(direction, first_step, steps, height, width, pixels)
        for t in range(steps):
            row = grad_x_dbl[batch, pixels[t], direction]
            for r in range(dt_rank):
                row[r] = grad_dt_low[t, r]
            for n in range(d_state):
                row[dt_rank + n] = grad_B[n, t]
                row[dt_rank + d_state + n] = grad_C[n, t]
