"""Backward kernels of the fused four-direction 2D scan.

One direction at a time, chunks from last to first: the chunk's delta and states are computed again from the
saved state, then the adjoint runs through it (``chunk.py``). Outside the recurrence, with v the projected dt,
delta = softplus(v), s = sigmoid(v) and gy the incoming gradient::

    dL/du = delta dL/d(delta u) + D gy          dL/dD = sum over t of gy u
    dL/dv = s (dL/d(delta) + u dL/d(delta u))   dL/d(bias) = sum over t of dL/dv
    dL/d(dt_low) = sum over channels of W dL/dv, dL/dW = sum over t of dL/dv dt_low

Sums over channels run inside an item over its blocks, in order, and leave one partial result per item; the
partial results are then added in order. The grouping of channels into items is fixed by the shapes, so every
bit of the result is independent of the number of threads.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from swin_umamba.ops.native.chunk import (
    CHUNK,
    apply_softplus,
    chunk_count,
    compute_sigmoid,
    input_gradients,
    scan_chunk_backward,
)
from swin_umamba.ops.native.compile import kernel
from swin_umamba.ops.native.ss2d_tiles import (
    gather_channels,
    gather_parameters,
    gather_rows,
    new_pixels,
    prefetch_channels,
    prefetch_rows,
    project_dt,
    scatter_channels,
    visit_pixels,
)
from swin_umamba.ops.native.vector import (
    LANES,
    clear,
    copy_vectors,
    fma,
    load,
    prefetch,
    splat,
    store,
    zeros_aligned,
)


@njit(nogil=True)
def _projection_gradients(  # type: ignore[no-untyped-def]
    steps, grad_projected, rows, weight_rows, grad_weight, grad_dt_low
):
    """Add to the gradients of the weight (dt_rank, 16) and of the low-rank dt (steps, padded dt_rank).

    ``weight_rows`` is (16, padded dt_rank): here the vector runs along the rank, so that no sum crosses
    lanes.
    """
    for r in range(grad_weight.shape[0]):
        total = splat(np.float32(0.0))
        for t in range(steps):
            total = fma(splat(rows[t, r]), load(grad_projected, t * LANES), total)
        store(grad_weight, r * LANES, load(grad_weight, r * LANES) + total)
    padded_rank = weight_rows.shape[1]
    tile = grad_projected.reshape(CHUNK, LANES)
    # Two steps at a time, as in ``project_dt``: one after the last fills only its own row, unread.
    for t in range(0, steps, 2):
        for first in range(0, padded_rank, LANES):
            position = t * padded_rank + first
            total_0, total_1 = load(grad_dt_low, position), load(grad_dt_low, position + padded_rank)
            for lane in range(LANES):
                factors = load(weight_rows, lane * padded_rank + first)
                total_0 = fma(splat(tile[t, lane]), factors, total_0)
                total_1 = fma(splat(tile[t + 1, lane]), factors, total_1)
            store(grad_dt_low, position, total_0)
            store(grad_dt_low, position + padded_rank, total_1)


@njit(nogil=True)
def _write_partial(grad_dt_low, grad_B, grad_C, dt_rank, partial):  # type: ignore[no-untyped-def]
    """Copy the tiles of a chunk one after the other; ``add_partials`` reads them."""
    copy_vectors(grad_B, partial, 0)
    copy_vectors(grad_C, partial, grad_B.size)
    first = grad_B.size + grad_C.size
    for t in range(CHUNK):
        for r in range(dt_rank):
            partial[first + t * dt_rank + r] = grad_dt_low[t, r]


@njit(nogil=True)
def _scatter_parameters(  # type: ignore[no-untyped-def]
    batch, direction, first_block, gradient_tiles, gradients
):
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
    length, d_inner = x.shape[1:]
    d_state, dt_rank = A.shape[2], dt_projs_weight.shape[2]
    padded_rank = (dt_rank + LANES - 1) // LANES * LANES

    pixels, next_pixels = new_pixels(), new_pixels()
    u = zeros_aligned(CHUNK * LANES)
    delta = zeros_aligned(CHUNK * LANES)
    delta_u = zeros_aligned(CHUNK * LANES)
    slope = zeros_aligned(CHUNK * LANES)
    grad_output = zeros_aligned(CHUNK * LANES)
    grad_delta = zeros_aligned(CHUNK * LANES)
    grad_delta_u = zeros_aligned(CHUNK * LANES)
    decays = zeros_aligned(CHUNK * LANES)
    h = zeros_aligned(CHUNK * LANES)
    products_B = zeros_aligned(CHUNK * LANES)
    products_C = zeros_aligned(CHUNK * LANES)
    columns = x_dbl.shape[3]
    rows = zeros_aligned(CHUNK * columns).reshape(CHUNK, columns)
    grad_dt_low = zeros_aligned(CHUNK * padded_rank).reshape(CHUNK, padded_rank)
    grad_B = zeros_aligned(d_state * CHUNK).reshape(d_state, CHUNK)
    grad_C = zeros_aligned(d_state * CHUNK).reshape(d_state, CHUNK)
    weight_tiles = zeros_aligned(blocks * dt_rank * LANES).reshape(blocks, dt_rank, LANES)
    weight_rows = zeros_aligned(blocks * LANES * padded_rank).reshape(blocks, LANES, padded_rank)
    bias_tiles = zeros_aligned(blocks * LANES).reshape(blocks, LANES)
    A_tiles = zeros_aligned(blocks * d_state * LANES).reshape(blocks, d_state, LANES)
    D_tiles = zeros_aligned(blocks * LANES).reshape(blocks, LANES)
    carry = zeros_aligned(blocks * d_state * LANES).reshape(blocks, d_state, LANES)
    grad_weight_tiles = zeros_aligned(blocks * dt_rank * LANES).reshape(blocks, dt_rank, LANES)
    grad_bias_tiles = zeros_aligned(blocks * LANES).reshape(blocks, 1, LANES)
    grad_A_tiles = zeros_aligned(blocks * d_state * LANES).reshape(blocks, d_state, LANES)
    grad_D_tiles = zeros_aligned(blocks * LANES).reshape(blocks, 1, LANES)

    gather_parameters(
        direction, first_block, dt_projs_weight, dt_projs_bias, A, D,
        weight_tiles, bias_tiles, A_tiles, D_tiles,
    )  # fmt: skip
    for block in range(blocks):
        for lane in range(LANES):
            for r in range(dt_rank):
                weight_rows[block, lane, r] = weight_tiles[block, r, lane]

    for chunk in range(chunk_count(length) - 1, -1, -1):
        first_step = chunk * CHUNK
        steps = min(CHUNK, length - first_step)
        visit_pixels(direction, first_step, steps, height, width, pixels)
        next_steps = CHUNK if chunk > 0 else 0
        visit_pixels(direction, first_step - CHUNK, next_steps, height, width, next_pixels)
        prefetch_rows(batch, direction, next_pixels, next_steps, x_dbl)
        gather_rows(batch, direction, pixels, steps, x_dbl, rows)
        clear(grad_dt_low)
        clear(grad_B)
        clear(grad_C)
        for block in range(blocks):
            channel = (first_block + block) * LANES
            lanes = min(LANES, d_inner - channel)
            prefetch_channels(batch, next_pixels, next_steps, channel, x)
            prefetch_channels(batch, next_pixels, next_steps, channel, grad_y)
            if direction > 0:
                prefetch_channels(batch, next_pixels, next_steps, channel, grad_x)
            if chunk > 0:
                earlier_states = saved_states[batch, direction, chunk - 1, first_block + block]
                for n in range(d_state):
                    prefetch(earlier_states, n * LANES)
            project_dt(steps, rows, weight_tiles[block], bias_tiles[block], delta)
            compute_sigmoid(steps, delta, slope)
            gather_channels(batch, pixels, steps, channel, lanes, x, u)
            apply_softplus(steps, delta, u, delta_u)
            gather_channels(batch, pixels, steps, channel, lanes, grad_y, grad_output)
            clear(grad_delta)
            clear(grad_delta_u)
            scan_chunk_backward(
                steps, grad_output, delta, delta_u, A_tiles[block], rows, dt_rank,
                saved_states[batch, direction, chunk, first_block + block],
                decays, h, products_B, products_C,
                carry[block], grad_delta, grad_delta_u, grad_A_tiles[block], grad_B, grad_C,
            )  # fmt: skip
            # The products are done with: their tile takes the gradient of u.
            input_gradients(
                steps, u, delta, slope, grad_output, grad_delta, grad_delta_u, load(D_tiles, block * LANES),
                grad_D_tiles[block], grad_bias_tiles[block], products_B,
            )  # fmt: skip
            _projection_gradients(
                steps, grad_delta, rows, weight_rows[block], grad_weight_tiles[block], grad_dt_low
            )
            scatter_channels(batch, pixels, steps, channel, lanes, products_B, grad_x, direction > 0)
        _write_partial(grad_dt_low, grad_B, grad_C, dt_rank, partial[batch, group, chunk])

    _scatter_parameters(batch, direction, first_block, grad_weight_tiles, grad_weight)
    _scatter_parameters(batch, direction, first_block, grad_bias_tiles, grad_bias)
    _scatter_parameters(batch, direction, first_block, grad_A_tiles, grad_A)
    _scatter_parameters(batch, direction, first_block, grad_D_tiles, grad_D)


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
