"""The projection delta = W dt_low + bias over a chunk and a block of 16 channels, and its gradients.

    dL/dW = sum over t of dL/d(delta) dt_low,    dL/d(dt_low) = sum over channels of W dL/d(delta)

Each is a small product of matrices. Eight sums of 16 numbers are in registers at a time: fewer do not hide
the latency of an addition. ``rows`` (chunk, columns) begins with the low-rank dt; weights are (dt_rank, 16).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from swin_umamba.ops.native.state_vector import (
    EIGHT,
    broadcast_like,
    broadcast_strided,
    eight_vectors,
    load_like,
    repeat_like,
)
from swin_umamba.ops.native.transpose import transpose
from swin_umamba.ops.native.vector import LANES, fma, load, pointer, splat, store


@njit(nogil=True)
def padded(dt_rank):  # type: ignore[no-untyped-def]
    """Round ``dt_rank`` up to whole groups of eight, which weights and their gradients have room for."""
    return (dt_rank + EIGHT - 1) // EIGHT * EIGHT


@njit(nogil=True)
def project_dt(steps, dt_rank, columns, rows, weight, bias, delta):  # type: ignore[no-untyped-def]
    """Return delta before softplus, (steps, 16): the low-rank dt times the weight, plus bias.

    Eight steps share each load of a weight. The chunk length is a multiple of eight, and the results for
    steps after the last are never read.
    """
    like = eight_vectors()
    for t in range(0, steps, EIGHT):
        total = repeat_like(like, load(bias, 0))
        for r in range(dt_rank):
            numbers = broadcast_strided(like, rows, t * columns + r, columns)
            total = fma(numbers, repeat_like(like, load(weight, r * LANES)), total)
        store(delta, t * LANES, total)


@njit(nogil=True)
def weight_gradient(steps, dt_rank, columns, grad_projected, rows, grad_weight):  # type: ignore[no-untyped-def]
    """Add to the gradient of the weight (padded dt_rank, 16); that after the last rank is meaningless."""
    like = eight_vectors()
    for r in range(0, dt_rank, EIGHT):
        total = repeat_like(like, splat(np.float32(0.0)))
        for t in range(steps):
            gradient = repeat_like(like, load(grad_projected, t * LANES))
            total = fma(broadcast_like(like, rows, t * columns + r), gradient, total)
        store(grad_weight, r * LANES, load_like(like, grad_weight, r * LANES) + total)


@njit(nogil=True)
def low_rank_gradient(steps, dt_rank, grad_projected, transposed, weight, sums, half):  # type: ignore[no-untyped-def]
    """Add to the gradient of the low-rank dt, (2, padded dt_rank, 16 steps); ``half`` numbers in each half.

    ``transposed`` is room for 16 channels of 16 steps: no sum crosses the lanes of a vector that holds steps.
    What is after the last step or rank is meaningless.
    """
    like = eight_vectors()
    for i in range((steps + LANES - 1) // LANES):
        transpose(pointer(grad_projected, i * LANES * LANES), LANES, transposed, LANES)
        for r in range(0, dt_rank, EIGHT):
            position = i * half + r * LANES
            total = load_like(like, sums, position)
            for channel in range(LANES):
                factors = broadcast_strided(like, weight, r * LANES + channel, LANES)
                total = fma(factors, repeat_like(like, load(transposed, channel * LANES)), total)
            store(sums, position, total)
