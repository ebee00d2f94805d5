"""Backward kernel of the fused four-direction 2D scan.

One direction at a time, chunks from last to first: the chunk's delta is recomputed, then the adjoint runs
through it (``adjoint.py``). What remains is the projection delta = softplus(v), v = W dt_low + bias::

    dL/d(dt_low) = sum over channels of W dL/dv, dL/dW = sum over t of dL/dv dt_low

Sums over channels run over the blocks of an item, in order, and leave one partial result per item
(``ss2d_partials.py``). The shapes alone fix the grouping of channels into items, so no bit of the result
depends on the number of threads.
"""

from __future__ import annotations

from numba import njit

from swin_umamba.ops.native.adjoint import TILES_SIZE, input_gradients, new_tiles, scan_chunk_backward
from swin_umamba.ops.native.chunk import CHUNK, apply_softplus_with_slope, chunk_count
from swin_umamba.ops.native.compile import kernel
from swin_umamba.ops.native.projection import low_rank_gradient, padded, project_dt, weight_gradient
from swin_umamba.ops.native.ss2d_partials import sum_rows
from swin_umamba.ops.native.ss2d_tiles import (
    gather_channels,
    gather_parameters,
    gather_rows,
    new_channel_values,
    new_parameters,
    new_pixels,
    new_rows,
    parameters_of_block,
    prefetch_channels,
    prefetch_rows,
    prefetch_states,
    scatter_channels,
    scatter_gradients,
    states_offset,
    visit_pixels,
)
from swin_umamba.ops.native.vector import (
    LANES,
    clear,
    load,
    pointer,
    stream_vectors,
    zeros_aligned,
)


@njit(nogil=True)
def _backward_through_block(  # type: ignore[no-untyped-def]
    steps, d_state, dt_rank, columns, rows, tiles, parameters, h_first, carry, gradients, sums
):
    """Add the contribution of one chunk and one block of channels to every gradient."""
    weight, bias = parameters.dt_projs_weight, parameters.dt_projs_bias
    project_dt(steps, dt_rank, columns, rows, weight, bias, tiles.delta)
    apply_softplus_with_slope(steps, tiles.delta, tiles.u, tiles.delta_u, tiles.slope)
    half = sum_rows(dt_rank, d_state) * LANES
    grad_B = pointer(sums, padded(dt_rank) * LANES)
    scan_chunk_backward(
        steps, d_state, columns, tiles, parameters.A, pointer(rows, dt_rank), h_first, carry,
        gradients.A, grad_B, pointer(grad_B, d_state * LANES), LANES, half,
    )  # fmt: skip
    input_gradients(steps, tiles, load(parameters.D, 0), gradients.D, gradients.dt_projs_bias)
    weight_gradient(steps, dt_rank, columns, tiles.grad_delta, rows, gradients.dt_projs_weight)
    low_rank_gradient(steps, dt_rank, tiles.grad_delta, tiles.delta_u, weight, sums, half)


@kernel
def ss2d_backward(  # type: ignore[no-untyped-def]
    batch, group, first_block, direction, blocks, height, width,
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
    length = x.shape[1]
    d_state, dt_rank, columns = A.shape[2], dt_projs_weight.shape[2], x_dbl.shape[3]
    channel = first_block * LANES
    channels = blocks * LANES
    pixels, next_pixels = new_pixels(), new_pixels()
    inputs, output_gradients = zeros_aligned(blocks * CHUNK * LANES), zeros_aligned(blocks * CHUNK * LANES)
    tiles_memory = zeros_aligned(TILES_SIZE)
    rows = new_rows(columns)
    sums = zeros_aligned(CHUNK * sum_rows(dt_rank, d_state))
    parameters = new_parameters(blocks, dt_rank, d_state)
    gather_parameters(direction, first_block, dt_projs_weight, dt_projs_bias, A, D, parameters)
    gradient_tiles = new_parameters(blocks, dt_rank, d_state)
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
        clear(sums, sums.size)
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
            here = parameters_of_block(block, dt_rank, d_state, parameters)
            gradients = parameters_of_block(block, dt_rank, d_state, gradient_tiles)
            _backward_through_block(
                steps, d_state, dt_rank, columns, rows, tiles, here,
                pointer(saved_states, saved), pointer(carries, block * d_state * LANES), gradients,
                pointer(sums, 0),
            )  # fmt: skip
        # 4. Gradients of x to their pixels, of x_dbl to the partial sums.
        scatter_channels(batch, pixels, steps, channel, channels, inputs, grad_x, direction > 0)
        stream_vectors(sums, pointer(partial, (first_partial + chunk) * sums.size), sums.size)

    # 5. Gradients of the parameters.
    scatter_gradients(
        batch, direction, first_block, gradient_tiles, grad_weights, grad_biases, grad_A, grad_D
    )
