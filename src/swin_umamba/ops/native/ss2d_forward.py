"""Forward kernel of the fused four-direction 2D scan: dt projection, softplus, scan and merge in one pass."""

from __future__ import annotations

from swin_umamba.ops.native.chunk import CHUNK, apply_softplus, chunk_count, scan_chunk, start_output
from swin_umamba.ops.native.compile import kernel
from swin_umamba.ops.native.projection import project_dt
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
    scatter_channels,
    states_offset,
    visit_pixels,
)
from swin_umamba.ops.native.vector import LANES, clear, load, pointer, stream_vectors, zeros_aligned


@kernel
def ss2d_forward(  # type: ignore[no-untyped-def]
    batch, first_block, blocks, height, width, x, x_dbl, dt_projs_weight, dt_projs_bias, A, D, y, saved_states
):
    """Scan ``blocks`` blocks of 16 channels of one image in all four directions.

    ``x`` and ``y`` are (batch, pixels, d_inner), ``x_dbl`` is (batch, pixels, 4, dt_rank + 2 * d_state). The
    state before each chunk goes into ``saved_states`` (batch, 4, chunks, channel blocks, d_state, 16), unless
    that is empty. Writes every element of its channels of ``y``, adding up the directions in the order 0, 2,
    1, 3.
    """
    # 1. Memory for one chunk of all blocks of channels.
    length = x.shape[1]
    d_state, dt_rank, columns = A.shape[2], dt_projs_weight.shape[2], x_dbl.shape[3]
    save = saved_states.size > 0

    channel = first_block * LANES
    channels = blocks * LANES
    pixels, next_pixels = new_pixels(), new_pixels()
    inputs = zeros_aligned(blocks * CHUNK * LANES)
    step_sizes = zeros_aligned(2 * CHUNK * LANES)
    rows = new_rows(columns)
    parameters = new_parameters(blocks, dt_rank, d_state)
    states = new_channel_values(blocks, d_state)

    # 2. Direction by direction, chunk by chunk, while the pixels of the next one are fetched.
    for direction in (0, 2, 1, 3):
        gather_parameters(direction, first_block, dt_projs_weight, dt_projs_bias, A, D, parameters)
        clear(states, states.size)
        for chunk in range(chunk_count(length)):
            first_step = chunk * CHUNK
            steps = min(CHUNK, length - first_step)
            visit_pixels(direction, first_step, steps, height, width, pixels)
            next_steps = min(CHUNK, length - first_step - steps)
            visit_pixels(direction, first_step + CHUNK, next_steps, height, width, next_pixels)
            prefetch_rows(batch, direction, next_pixels, next_steps, x_dbl)
            gather_rows(batch, direction, pixels, steps, x_dbl, rows)
            gather_channels(batch, pixels, steps, channel, channels, x, inputs)
            # 3. Block by block of 16 channels: step sizes, then the scan in place of the input.
            for block in range(blocks):
                u, h = pointer(inputs, block * CHUNK * LANES), pointer(states, block * d_state * LANES)
                delta, delta_u = pointer(step_sizes, 0), pointer(step_sizes, CHUNK * LANES)
                first, last = block * next_steps // blocks, (block + 1) * next_steps // blocks
                prefetch_channels(batch, next_pixels, first, last, channel, channels, x)
                if direction > 0:
                    prefetch_channels(batch, next_pixels, first, last, channel, channels, y)
                if save:
                    saved = states_offset(batch, direction, chunk, first_block + block, saved_states)
                    stream_vectors(h, pointer(saved_states, saved), d_state * LANES)
                here = parameters_of_block(block, dt_rank, d_state, parameters)
                project_dt(steps, dt_rank, columns, rows, here.dt_projs_weight, here.dt_projs_bias, delta)
                apply_softplus(steps, delta, u, delta_u)
                start_output(steps, load(here.D, 0), u)
                scan_chunk(steps, d_state, columns, delta, delta_u, here.A, pointer(rows, dt_rank), h, u)
            # 4. Outputs to their pixels, added to those of earlier directions.
            scatter_channels(batch, pixels, steps, channel, channels, inputs, y, direction > 0)
