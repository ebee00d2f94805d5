"""Backward kernel of the fused four-direction 2D scan.

One direction at a time, chunks from last to first: the chunk's delta is recomputed, then the adjoint runs
through it (``adjoint.py``). What remains is the projection delta = softplus(v), v = W dt_low + bias::

    dL/d(dt_low) = sum over channels of W dL/dv, dL/dW = sum over t of dL/dv dt_low

Sums over channels run over the blocks of an item, in order, and leave one partial result per item
(``ss2d_partials.py``). The shapes alone fix the grouping of channels into items, so no bit of the result
depends on the number of threads.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from swin_umamba.ops.native.adjoint import TILES_SIZE, input_gradients, new_tiles, scan_chunk_backward
from swin_umamba.ops.native.chunk import CHUNK, apply_softplus_with_slope, chunk_count
from swin_umamba.ops.native.compile import kernel
from swin_umamba.ops.native.ss2d_partials import new_row_sums, padded, row_sums_in
from swin_umamba.ops.native.ss2d_tiles import (
    gather_channels,
    gather_parameters,
    gather_rows,
    new_channel_values,
    new_parameters,
    new_pixels,
    parameters_of_block,
    prefetch_channels,
    prefetch_rows,
    prefetch_states,
    project_dt,
    scatter_channels,
    states_offset,
    visit_pixels,
)
from swin_umamba.ops.native.vector import (
    LANES,
    broadcast,
    clear,
    fma,
    load,
    pointer,
    splat,
    store,
    stream_vectors,
    zeros_aligned,
)


@njit(nogil=True)
def _transposed(weight, padded_rank):  # type: ignore[no-untyped-def]
    """Turn (blocks, dt_rank, 16) into (blocks, 16, padded dt_rank)."""
    transposed = zeros_aligned(weight.shape[0] * LANES * padded_rank).reshape(-1, LANES, padded_rank)
    for block in range(weight.shape[0]):
        for r in range(weight.shape[1]):
            for lane in range(LANES):
                transposed[block, lane, r] = weight[block, r, lane]
    return transposed


@njit(nogil=True)
def _weight_gradient(steps, dt_rank, columns, grad_projected, rows, grad_weight):  # type: ignore[no-untyped-def]
    """Add to the gradient of the weight (dt_rank, 16); four of its rows share each load."""
    for r in range(0, dt_rank, 4):
        r_1, r_2, r_3 = min(r + 1, dt_rank - 1), min(r + 2, dt_rank - 1), min(r + 3, dt_rank - 1)
        total_0 = total_1 = total_2 = total_3 = splat(np.float32(0.0))
        for t in range(steps):
            row, gradient = t * columns, load(grad_projected, t * LANES)
            total_0 = fma(broadcast(rows, row + r), gradient, total_0)
            total_1 = fma(broadcast(rows, row + r_1), gradient, total_1)
            total_2 = fma(broadcast(rows, row + r_2), gradient, total_2)
            total_3 = fma(broadcast(rows, row + r_3), gradient, total_3)
        store(grad_weight, r * LANES, load(grad_weight, r * LANES) + total_0)
        if r_1 > r:
            store(grad_weight, r_1 * LANES, load(grad_weight, r_1 * LANES) + total_1)
        if r_2 > r_1:
            store(grad_weight, r_2 * LANES, load(grad_weight, r_2 * LANES) + total_2)
        if r_3 > r_2:
            store(grad_weight, r_3 * LANES, load(grad_weight, r_3 * LANES) + total_3)


@njit(nogil=True)
def _low_rank_gradient(steps, padded_rank, grad_projected, weight_rows, grad_dt_low):  # type: ignore[no-untyped-def]
    """Add to the gradient of the low-rank dt (steps, padded dt_rank).

    ``weight_rows`` is (16, padded dt_rank): here the vector runs along the rank, so that no sum crosses
    lanes. Four steps at a time, as in ``project_dt``: those after the last fill only their own rows, unread.
    """
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
def _backward_through_block(  # type: ignore[no-untyped-def]
    steps, d_state, dt_rank, columns, rows, tiles, parameters, weight_rows, h_first, carry, gradients, sums
):
    """Add the contribution of one chunk and one block of channels to every gradient."""
    weight, bias = parameters.dt_projs_weight, parameters.dt_projs_bias
    project_dt(steps, dt_rank, columns, rows, weight, bias, tiles.delta)
    apply_softplus_with_slope(steps, tiles.delta, tiles.u, tiles.delta_u, tiles.slope)
    scan_chunk_backward(
        steps, d_state, columns, tiles, parameters.A, pointer(rows, dt_rank), h_first, carry,
        gradients.A, sums.B, sums.C,
    )  # fmt: skip
    input_gradients(steps, tiles, load(parameters.D, 0), gradients.D, gradients.dt_projs_bias)
    _weight_gradient(steps, dt_rank, columns, tiles.grad_delta, rows, gradients.dt_projs_weight)
    _low_rank_gradient(steps, padded(dt_rank), tiles.grad_delta, weight_rows, sums.dt_low)


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
    grad_x, partial, grad_weights, grad_biases, grad_A, grad_D,
):  # fmt: skip
    """Run the adjoint of one direction over ``blocks`` blocks of 16 channels of one image.

    Direction 0 must come first: it writes ``grad_x`` (batch, pixels, d_inner), the others add to it. The
    gradient of ``x_dbl`` summed over these channels goes into ``partial[batch, group]``, of shape (chunks,
    columns of ``x_dbl`` * chunk length). The parameters' gradients are per image: (batch, 4, d_inner, numbers
    per channel).
    """
    # 1. Memory, parameters of this direction, and sums of their gradients.
    length, d_inner = x.shape[1:]
    d_state, dt_rank, columns = A.shape[2], dt_projs_weight.shape[2], x_dbl.shape[3]
    channel = first_block * LANES
    channels = min(blocks * LANES, d_inner - channel)
    pixels, next_pixels = new_pixels(), new_pixels()
    inputs, output_gradients = zeros_aligned(blocks * CHUNK * LANES), zeros_aligned(blocks * CHUNK * LANES)
    tiles_memory = zeros_aligned(TILES_SIZE)
    rows = zeros_aligned(CHUNK * columns)
    sums_memory = new_row_sums(dt_rank, d_state)
    parameters = new_parameters(blocks, dt_rank, d_state)
    weights, biases, rates, skips = parameters
    gather_parameters(direction, first_block, dt_projs_weight, dt_projs_bias, A, D, parameters)
    transposed_weights = _transposed(weights, padded(dt_rank))
    weight_gradients, bias_gradients, rate_gradients, skip_gradients = new_parameters(
        blocks, dt_rank, d_state
    )
    carries = new_channel_values(blocks, d_state)

    # 2. Chunk by chunk back along the path, while the pixels of the next one are fetched.
    first_partial = (batch * partial.shape[1] + group) * partial.shape[2]
    for chunk in range(chunk_count(length) - 1, -1, -1):
        first_step = chunk * CHUNK
        steps = min(CHUNK, length - first_step)
        visit_pixels(direction, first_step, steps, height, width, pixels)
        next_steps = CHUNK if chunk > 0 else 0
        visit_pixels(direction, first_step - CHUNK, next_steps, height, width, next_pixels)
        prefetch_rows(batch, direction, next_pixels, next_steps, x_dbl)
        gather_rows(batch, direction, pixels, steps, x_dbl, rows)
        gather_channels(batch, pixels, steps, channel, channels, x, inputs)
        gather_channels(batch, pixels, steps, channel, channels, grad_y, output_gradients)
        clear(sums_memory, sums_memory.size)
        sums = row_sums_in(sums_memory, d_state)
        # 3. Block by block of 16 channels: forwards and backwards through the states.
        for block in range(blocks):
            first, last = block * next_steps // blocks, (block + 1) * next_steps // blocks
            prefetch_channels(batch, next_pixels, first, last, channel, channels, x)
            prefetch_channels(batch, next_pixels, first, last, channel, channels, grad_y)
            if direction > 0:
                prefetch_channels(batch, next_pixels, first, last, channel, channels, grad_x)
            saved = states_offset(batch, direction, chunk, first_block + block, saved_states)
            if chunk > 0:
                prefetch_states(batch, direction, chunk - 1, first_block + block, saved_states)

            tile = block * CHUNK * LANES
            tiles = new_tiles(tiles_memory, pointer(inputs, tile), pointer(output_gradients, tile))
            here = parameters_of_block(block, dt_rank, d_state, weights, biases, rates, skips)
            gradients = parameters_of_block(
                block, dt_rank, d_state, weight_gradients, bias_gradients, rate_gradients, skip_gradients
            )
            weight_rows = pointer(transposed_weights, block * LANES * padded(dt_rank))
            _backward_through_block(
                steps, d_state, dt_rank, columns, rows, tiles, here, weight_rows,
                pointer(saved_states, saved), pointer(carries, block * d_state * LANES), gradients, sums,
            )  # fmt: skip
        # 4. Gradients of x to their pixels, of x_dbl to the partial sums.
        scatter_channels(batch, pixels, steps, channel, channels, inputs, grad_x, direction > 0)
        stream_vectors(
            sums_memory, pointer(partial, (first_partial + chunk) * sums_memory.size), sums_memory.size
        )

    # 5. Gradients of the parameters.
    _scatter_parameter(batch, direction, first_block, weight_gradients, grad_weights)
    _scatter_parameter(batch, direction, first_block, bias_gradients, grad_biases)
    _scatter_parameter(batch, direction, first_block, rate_gradients, grad_A)
    _scatter_parameter(batch, direction, first_block, skip_gradients, grad_D)
