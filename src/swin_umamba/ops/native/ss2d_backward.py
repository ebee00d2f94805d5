"""Backward kernel of the fused four-direction 2D scan.

One direction at a time, chunks from last to first: the chunk's delta is computed again, then the adjoint runs
through it (``adjoint.py``). What is left is the projection delta = softplus(v), v = W dt_low + bias::

    dL/d(dt_low) = sum over channels of W dL/dv, dL/dW = sum over t of dL/dv dt_low

Sums over channels run inside an item over its blocks, in order, and leave one partial result per item
(``ss2d_partials.py``). The grouping of channels into items is fixed by the shapes, so every bit of the result
is independent of the number of threads.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from swin_umamba.ops.native.adjoint import input_gradients, new_tiles, scan_chunk_backward
from swin_umamba.ops.native.chunk import CHUNK, apply_softplus_with_slope, chunk_count
from swin_umamba.ops.native.compile import kernel
from swin_umamba.ops.native.ss2d_partials import clear_sums, new_row_sums, write_partial
from swin_umamba.ops.native.ss2d_tiles import (
    gather_channels,
    gather_parameters,
    gather_rows,
    new_channel_values,
    new_parameters,
    new_pixels,
    prefetch_channels,
    prefetch_rows,
    project_dt,
    scatter_channels,
    visit_pixels,
)
from swin_umamba.ops.native.vector import (
    LANES,
    broadcast,
    fma,
    load,
    prefetch,
    splat,
    store,
    zeros_aligned,
)


@njit(nogil=True)
def _transposed(weight, padded_rank):  # type: ignore[no-untyped-def]
    """(blocks, dt_rank, 16) as (blocks, 16, padded dt_rank)."""
    transposed = zeros_aligned(weight.shape[0] * LANES * padded_rank).reshape(-1, LANES, padded_rank)
    for block in range(weight.shape[0]):
        for r in range(weight.shape[1]):
            for lane in range(LANES):
                transposed[block, lane, r] = weight[block, r, lane]
    return transposed


@njit(nogil=True)
def _prefetch_next(  # type: ignore[no-untyped-def]
    batch, direction, chunk, channel, pixels, steps, x, grad_y, grad_x, states
):
    """Bring what a block needs of the chunk that comes next into the cache."""
    prefetch_channels(batch, pixels, steps, channel, x)
    prefetch_channels(batch, pixels, steps, channel, grad_y)
    if direction > 0:
        prefetch_channels(batch, pixels, steps, channel, grad_x)
    if chunk > 0:
        earlier = states[chunk - 1]
        for n in range(earlier.shape[0]):
            prefetch(earlier, n * LANES)


@njit(nogil=True)
def _backward_through_block(  # type: ignore[no-untyped-def]
    batch, direction, channel, block, pixels, steps, x, grad_y, rows,
    h_first, parameters, weight_rows, tiles, carry, gradients, sums, grad_x,
):  # fmt: skip
    """Add what one chunk and one block of channels contribute to every gradient."""
    lanes = min(LANES, x.shape[2] - channel)
    dt_rank = parameters.dt_projs_weight.shape[1]
    weight, bias = parameters.dt_projs_weight[block], parameters.dt_projs_bias[block]
    project_dt(steps, rows, weight, bias, tiles.delta)
    gather_channels(batch, pixels, steps, channel, lanes, x, tiles.u)
    apply_softplus_with_slope(steps, tiles.delta, tiles.u, tiles.delta_u, tiles.slope)
    gather_channels(batch, pixels, steps, channel, lanes, grad_y, tiles.grad_y)
    scan_chunk_backward(
        steps, tiles, parameters.A[block], rows, dt_rank, h_first, carry, gradients.A[block], sums.B, sums.C
    )
    skip = load(parameters.D, block * LANES)
    input_gradients(steps, tiles, skip, gradients.D[block], gradients.dt_projs_bias[block])
    _projection_gradients(
        steps, tiles.grad_delta, rows, weight_rows, gradients.dt_projs_weight[block], sums.dt_low
    )
    scatter_channels(batch, pixels, steps, channel, lanes, tiles.grad_u, grad_x, direction > 0)


@njit(nogil=True)
def _projection_gradients(  # type: ignore[no-untyped-def]
    steps, grad_projected, rows, weight_rows, grad_weight, grad_dt_low
):
    """Add to the gradients of the weight (dt_rank, 16) and of the low-rank dt (steps, padded dt_rank).

    ``weight_rows`` is (16, padded dt_rank): here the vector runs along the rank, so that no sum crosses
    lanes.
    """
    columns = rows.shape[1]
    for r in range(grad_weight.shape[0]):
        total = splat(np.float32(0.0))
        for t in range(steps):
            total = fma(broadcast(rows, t * columns + r), load(grad_projected, t * LANES), total)
        store(grad_weight, r * LANES, load(grad_weight, r * LANES) + total)
    padded_rank = weight_rows.shape[1]
    # Four steps at a time, as in ``project_dt``: those after the last fill only their own rows, unread.
    for t in range(0, steps, 4):
        for first in range(0, padded_rank, LANES):
            row_0 = t * padded_rank + first
            row_1, row_2, row_3 = row_0 + padded_rank, row_0 + 2 * padded_rank, row_0 + 3 * padded_rank
            total_0, total_1 = load(grad_dt_low, row_0), load(grad_dt_low, row_1)
            total_2, total_3 = load(grad_dt_low, row_2), load(grad_dt_low, row_3)
            for lane in range(LANES):
                factors = load(weight_rows, lane * padded_rank + first)
                total_0 = fma(broadcast(grad_projected, t * LANES + lane), factors, total_0)
                total_1 = fma(broadcast(grad_projected, (t + 1) * LANES + lane), factors, total_1)
                total_2 = fma(broadcast(grad_projected, (t + 2) * LANES + lane), factors, total_2)
                total_3 = fma(broadcast(grad_projected, (t + 3) * LANES + lane), factors, total_3)
            store(grad_dt_low, row_0, total_0)
            store(grad_dt_low, row_1, total_1)
            store(grad_dt_low, row_2, total_2)
            store(grad_dt_low, row_3, total_3)


@njit(nogil=True)
def _scatter_parameter(batch, direction, first_block, gradient_tiles, gradients):  # type: ignore[no-untyped-def]
    """Copy gradients (blocks, numbers, 16) into (batch, 4, d_inner, numbers)."""
    d_inner = gradients.shape[2]
    for block in range(gradient_tiles.shape[0]):
        first = (first_block + block) * LANES
        for lane in range(min(LANES, d_inner - first)):
            for i in range(gradients.shape[3]):
                gradients[batch, direction, first + lane, i] = gradient_tiles[block, i, lane]


@kernel
def ss2d_backward(  # type: ignore[no-untyped-def]
    batch, group, first_block, blocks, direction, height, width,
    grad_y, saved_states, x, x_dbl, dt_projs_weight, dt_projs_bias, A, D,
    grad_x, partial, grad_weight, grad_bias, grad_A, grad_D,
):  # fmt: skip
    """Run the adjoint of one direction over ``blocks`` blocks of 16 channels of one image.

    Direction 0 must come first: it writes ``grad_x`` (batch, pixels, d_inner), the others add to it. The
    gradient of ``x_dbl`` summed over these channels goes into ``partial[batch, group]``, of shape (chunks,
    columns of ``x_dbl`` * chunk length). The parameters' gradients are per image: (batch, 4, d_inner, numbers
    per channel).
    """
    length, columns = x.shape[1], x_dbl.shape[3]
    d_state, dt_rank = A.shape[2], dt_projs_weight.shape[2]
    pixels, next_pixels = new_pixels(), new_pixels()
    tiles = new_tiles()
    rows = zeros_aligned(CHUNK * columns).reshape(CHUNK, columns)
    sums = new_row_sums(dt_rank, d_state)
    parameters = new_parameters(blocks, dt_rank, d_state)
    gather_parameters(direction, first_block, dt_projs_weight, dt_projs_bias, A, D, parameters)
    weight_rows = _transposed(parameters.dt_projs_weight, sums.dt_low.shape[1])
    gradients = new_parameters(blocks, dt_rank, d_state)
    carry = new_channel_values(blocks, d_state)

    for chunk in range(chunk_count(length) - 1, -1, -1):
        first_step = chunk * CHUNK
        steps = min(CHUNK, length - first_step)
        visit_pixels(direction, first_step, steps, height, width, pixels)
        next_steps = CHUNK if chunk > 0 else 0
        visit_pixels(direction, first_step - CHUNK, next_steps, height, width, next_pixels)
        prefetch_rows(batch, direction, next_pixels, next_steps, x_dbl)
        gather_rows(batch, direction, pixels, steps, x_dbl, rows)
        clear_sums(sums)
        for block in range(blocks):
            states = saved_states[batch, direction, :, first_block + block]
            _prefetch_next(
                batch, direction, chunk, (first_block + block) * LANES, next_pixels, next_steps,
                x, grad_y, grad_x, states,
            )  # fmt: skip
            _backward_through_block(
                batch, direction, (first_block + block) * LANES, block, pixels, steps, x, grad_y, rows,
                states[chunk], parameters, weight_rows[block], tiles, carry[block], gradients, sums, grad_x,
            )  # fmt: skip
        write_partial(sums, dt_rank, partial[batch, group, chunk])

    _scatter_parameter(batch, direction, first_block, gradients.dt_projs_weight, grad_weight)
    _scatter_parameter(batch, direction, first_block, gradients.dt_projs_bias, grad_bias)
    _scatter_parameter(batch, direction, first_block, gradients.A, grad_A)
    _scatter_parameter(batch, direction, first_block, gradients.D, grad_D)
