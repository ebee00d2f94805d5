"""Backward kernel of the fused four-direction 2D scan for one state a channel (``single_state.py``)."""

from __future__ import annotations

from numba import njit

from swin_umamba.ops.native.chunk import CHUNK, chunk_count
from swin_umamba.ops.native.compile import kernel
from swin_umamba.ops.native.projection import low_rank_gradient, padded, project_dt, weight_gradient
from swin_umamba.ops.native.single_state import (
    TILE,
    TILES_SIZE,
    ChunkPlaces,
    add_lane_sums,
    compute_decays,
    compute_powers,
    compute_slopes,
    new_tiles,
    recompute_states,
    run_adjoint,
    scale_for_base_2,
    scale_gradients,
    scale_input_weights,
)
from swin_umamba.ops.native.ss2d_partials import sum_rows
from swin_umamba.ops.native.ss2d_tiles import (
    gather_parameters,
    gather_rows,
    new_channel_values,
    new_parameters,
    new_pixels,
    new_rows,
    parameters_of_block,
    prefetch_rows,
    prefetch_states,
    scatter_gradients,
    states_offset,
    visit_pixels,
)
from swin_umamba.ops.native.vector import LANES, clear, load, pointer, store, stream_vectors, zeros_aligned


@njit(nogil=True)
def _backward_through_block(  # type: ignore[no-untyped-def]
    steps, dt_rank, columns, rows, tiles, parameters, h_first, carry, image, x, grad_y, grad_x,
    lane_sums, gradients, sums,
):  # fmt: skip
    """Add the contribution of one chunk and one block of channels to every gradient."""
    weight, rate = parameters.dt_projs_weight, load(parameters.A, 0)
    weights = pointer(rows, dt_rank)
    project_dt(steps, dt_rank, columns, rows, weight, parameters.dt_projs_bias, tiles.step)
    compute_powers(steps, tiles)
    compute_slopes(steps, tiles)
    compute_decays(steps, rate, tiles)
    recompute_states(steps, columns, tiles, weights, load(h_first, 0), image, x)
    carried, rate_total, skip_total, bias_total = run_adjoint(
        steps, columns, tiles, weights, rate, load(parameters.D, 0), load(carry, 0), image,
        x, grad_y, grad_x, lane_sums,
    )  # fmt: skip
    store(carry, 0, carried)
    store(gradients.A, 0, load(gradients.A, 0) + rate_total)
    store(gradients.D, 0, load(gradients.D, 0) + skip_total)
    store(gradients.dt_projs_bias, 0, load(gradients.dt_projs_bias, 0) + bias_total)
    weight_gradient(steps, dt_rank, columns, tiles.grad_projected, rows, gradients.dt_projs_weight)
    low_rank_gradient(
        steps, dt_rank, tiles.grad_projected, tiles.power, weight, sums, sum_rows(dt_rank, 1) * LANES
    )


@kernel
def ss2d_single_backward(  # type: ignore[no-untyped-def]
    batch, group, first_block, direction, blocks, height, width,
    grad_y, saved_states, x, x_dbl, dt_projs_weight, dt_projs_bias, A, D,
    grad_x, partial, grad_weights, grad_biases, grad_A, grad_D,
):  # fmt: skip
    """Do as ``ss2d_backward`` does, where ``d_state`` is 1."""
    # 1. Memory, parameters of this direction, and sums of their gradients.
    length, d_inner = x.shape[1:]
    dt_rank, columns = dt_projs_weight.shape[2], x_dbl.shape[3]
    pixels, next_pixels = new_pixels(), new_pixels()
    tiles_memory = zeros_aligned(TILES_SIZE)
    rows = new_rows(columns)
    lane_sums, sums = zeros_aligned(2 * TILE), zeros_aligned(CHUNK * sum_rows(dt_rank, 1))
    parameters, gradient_tiles = new_parameters(blocks, dt_rank, 1), new_parameters(blocks, dt_rank, 1)
    gather_parameters(direction, first_block, dt_projs_weight, dt_projs_bias, A, D, parameters)
    scale_for_base_2(parameters)
    carries = new_channel_values(blocks, 1)

    # 2. Chunk by chunk back along the path, while the pixels of the next one are fetched.
    first_partial = (batch * partial.shape[1] + group) * partial.shape[2]
    first_step = (chunk_count(length) - 1) * CHUNK
    visit_pixels(direction, first_step, length - first_step, height, width, next_pixels)
    for chunk in range(chunk_count(length) - 1, -1, -1):
        pixels, next_pixels = next_pixels, pixels
        first_step = chunk * CHUNK
        steps = min(CHUNK, length - first_step)
        next_steps = CHUNK if chunk > 0 else 0
        visit_pixels(direction, first_step - CHUNK, next_steps, height, width, next_pixels)
        prefetch_rows(batch, direction, next_pixels, next_steps, x_dbl)
        gather_rows(batch, direction, pixels, steps, x_dbl, rows)
        scale_input_weights(steps, columns, pointer(rows, dt_rank))
        clear(sums, sums.size)
        clear(lane_sums, lane_sums.size)
        image = ChunkPlaces(pixels, next_pixels, d_inner, direction > 0)
        # 3. Block by block of 16 channels.
        for block in range(blocks):
            saved = states_offset(batch, direction, chunk, first_block + block, saved_states)
            if chunk > 0:
                prefetch_states(batch, direction, chunk - 1, first_block + block, saved_states)
            here = parameters_of_block(block, dt_rank, 1, parameters)
            gradients = parameters_of_block(block, dt_rank, 1, gradient_tiles)
            first = batch * length * d_inner + (first_block + block) * LANES
            _backward_through_block(
                steps, dt_rank, columns, rows, new_tiles(tiles_memory), here,
                pointer(saved_states, saved), pointer(carries, block * LANES), image,
                pointer(x, first), pointer(grad_y, first), pointer(grad_x, first),
                pointer(lane_sums, 0), gradients, pointer(sums, 0),
            )  # fmt: skip
        # 4. Gradients of B and C, summed over the lanes.
        add_lane_sums(pointer(lane_sums, 0), pointer(sums, padded(dt_rank) * LANES), sum_rows(dt_rank, 1))
        stream_vectors(sums, pointer(partial, (first_partial + chunk) * sums.size), sums.size)

    # 5. Gradients of the parameters.
    scale_gradients(gradient_tiles)
    scatter_gradients(
        batch, direction, first_block, gradient_tiles, grad_weights, grad_biases, grad_A, grad_D
    )
