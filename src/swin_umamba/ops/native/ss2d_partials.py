"""The gradient of ``x_dbl``: each work item sums over its own channels, ``add_partials`` over the items.

The order of the sums is fixed, so that no bit depends on the number of threads.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numba import njit

from swin_umamba.ops.native.chunk import CHUNK
from swin_umamba.ops.native.compile import kernel
from swin_umamba.ops.native.ss2d_tiles import new_pixels, visit_pixels
from swin_umamba.ops.native.vector import LANES, clear, copy_vectors, load, pointer, store, zeros_aligned


class RowSums(NamedTuple):
    """Pointers to the gradients of a chunk's rows of ``x_dbl``, summed over the channels of an item."""

    B: Any  # (d_state, chunk), as is C
    C: Any
    dt_low: Any  # (chunk, dt_rank padded to whole vectors)


@njit(nogil=True)
def padded(dt_rank):  # type: ignore[no-untyped-def]
    """``dt_rank`` rounded up to whole vectors."""
    return (dt_rank + LANES - 1) // LANES * LANES


@njit(nogil=True)
def new_row_sums(dt_rank, d_state):  # type: ignore[no-untyped-def]
    """Zeros for ``row_sums_in``."""
    return zeros_aligned((2 * d_state + padded(dt_rank)) * CHUNK)


@njit(nogil=True)
def row_sums_in(memory, d_state):  # type: ignore[no-untyped-def]
    """The sums in an array of ``new_row_sums``."""
    size = d_state * CHUNK
    return RowSums(pointer(memory, 0), pointer(memory, size), pointer(memory, 2 * size))


@njit(nogil=True)
def write_partial(sums, dt_rank, d_state, partial):  # type: ignore[no-untyped-def]
    """Copy the sums of a chunk one after the other; ``add_partials`` reads them."""
    copy_vectors(sums.B, partial, 2 * d_state * CHUNK)
    padded_rank, first = padded(dt_rank), 2 * d_state * CHUNK
    for t in range(CHUNK):
        for r in range(dt_rank):
            partial[first + t * dt_rank + r] = sums.dt_low[t * padded_rank + r]


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
        clear(total, total.size)
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
