"""Forward kernel of the fused four-direction 2D scan: dt projection, softplus, scan and merge in one pass."""

from __future__ import annotations

from swin_umamba.ops.native.chunk import CHUNK, apply_softplus, chunk_count, scan_chunk, start_output
from swin_umamba.ops.native.compile import kernel
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
from swin_umamba.ops.native.vector import LANES, clear, copy_vectors, load, zeros_aligned


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
    length, d_inner = x.shape[1:]
    d_state, dt_rank = A.shape[2], dt_projs_weight.shape[2]
    save = saved_states.size > 0

    pixels, next_pixels = new_pixels(), new_pixels()
    delta = zeros_aligned(CHUNK * LANES)
    delta_u = zeros_aligned(CHUNK * LANES)
    u = zeros_aligned(CHUNK * LANES)
    output = zeros_aligned(CHUNK * LANES)
    columns = x_dbl.shape[3]
    rows = zeros_aligned(CHUNK * columns).reshape(CHUNK, columns)
    parameters = new_parameters(blocks, dt_rank, d_state)
    h = new_channel_values(blocks, d_state)

    for direction in (0, 2, 1, 3):
        gather_parameters(direction, first_block, dt_projs_weight, dt_projs_bias, A, D, parameters)
        clear(h)
        for chunk in range(chunk_count(length)):
            first_step = chunk * CHUNK
            steps = min(CHUNK, length - first_step)
            visit_pixels(direction, first_step, steps, height, width, pixels)
            next_steps = min(CHUNK, length - first_step - steps)
            visit_pixels(direction, first_step + CHUNK, next_steps, height, width, next_pixels)
            prefetch_rows(batch, direction, next_pixels, next_steps, x_dbl)
            gather_rows(batch, direction, pixels, steps, x_dbl, rows)
            for block in range(blocks):
                channel = (first_block + block) * LANES
                lanes = min(LANES, d_inner - channel)
                prefetch_channels(batch, next_pixels, next_steps, channel, x)
                if direction > 0:
                    prefetch_channels(batch, next_pixels, next_steps, channel, y)
                if save:
                    copy_vectors(h[block], saved_states[batch, direction, chunk, first_block + block], 0)
                project_dt(
                    steps, rows, parameters.dt_projs_weight[block], parameters.dt_projs_bias[block], delta
                )
                gather_channels(batch, pixels, steps, channel, lanes, x, u)
                apply_softplus(steps, delta, u, delta_u)
                start_output(steps, load(parameters.D, block * LANES), u, output)
                scan_chunk(steps, delta, delta_u, parameters.A[block], rows, dt_rank, h[block], output)
                scatter_channels(batch, pixels, steps, channel, lanes, output, y, direction > 0)
