"""The gradient of ``x_dbl``: each work item sums over its own channels, ``add_partials`` over the items.

The order of the sums is fixed, so that no bit depends on the number of threads.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from swin_umamba.ops.native.chunk import CHUNK
from swin_umamba.ops.native.compile import kernel
from swin_umamba.ops.native.ss2d_tiles import new_pixels, visit_pixels
from swin_umamba.ops.native.vector import LANES, clear, copy_vectors, load, store, zeros_aligned


class RowSums(NamedTuple):
    """Gradients of a chunk's rows of ``x_dbl``, summed over the channels of an item."""

    dt_low: np.ndarray  # (chunk, dt_rank padded to whole vectors)
    B: np.ndarray  # (d_state, chunk), as is C
    C: np.ndarray


@njit(nogil=True)
def new_row_sums(dt_rank, d_state):  # type: ignore[no-untyped-def]
    """Zeros."""
    padded_rank = (dt_rank + LANES - 1) // LANES * LANES
    return RowSums(
        zeros_aligned(CHUNK * padded_rank).reshape(CHUNK, padded_rank),
        zeros_aligned(d_state * CHUNK).reshape(d_state, CHUNK),
        zeros_aligned(d_state * CHUNK).reshape(d_state, CHUNK),
    )


@njit(nogil=True)
def clear_sums(sums):  # type: ignore[no-untyped-def]
    """Start from zero again."""
    clear(sums.dt_low)
    clear(sums.B)
    clear(sums.C)


@njit(nogil=True)
def write_partial(sums, dt_rank, partial):  # type: ignore[no-untyped-def]
    """Copy the sums of a chunk one after the other; ``add_partials`` reads them."""
    copy_vectors(sums.B, partial, 0)
    copy_vectors(sums.C, partial, sums.B.size)
    first = sums.B.size + sums.C.size
    for t in range(CHUNK):
        for r in range(dt_rank):
            partial[first + t * dt_rank + r] = sums.dt_low[t, r]


@kernel
def add_partials(  # type: ignore[no-untyped-def]
    batch, direction, first_chunk, last_chunk, height, width, dt_rank, partial, grad_x_dbl
):
    """Add up the groups' partial gradients of some chunks, in order, and put them at their pixels."""
    length, columns = grad_x_dbl.shape[1], grad_x_dbl.shape[3]
    d_state = (columns - dt_rank) // 2
    pixels = new_pixels()
    total = zeros_aligned(columns * CHUNK)
    grad_B = total[: d_state * CHUNK].reshape(d_state, CHUNK)
    grad_C = total[d_state * CHUNK : 2 * d_state * CHUNK].reshape(d_state, CHUNK)
    grad_dt_low = total[2 * d_state * CHUNK :].reshape(CHUNK, dt_rank)
    for chunk in range(first_chunk, last_chunk):
        clear(total)
        for group in range(partial.shape[1]):
            for i in range(0, total.size, LANES):
                position = ((batch * partial.shape[1] + group) * partial.shape[2] + chunk) * total.size + i
                store(total, i, load(total, i) + load(partial, position))
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
