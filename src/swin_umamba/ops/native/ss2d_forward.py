"""Forward kernel of the fused four-direction 2D scan: dt projection, softplus, scan and merge in one pass."""

from __future__ import annotations

from swin_umamba.ops.native.chunk import CHUNK, scan_chunk
from swin_umamba.ops.native.compile import kernel
from swin_umamba.ops.native.ss2d_tiles import (
    apply_softplus,
    chunk_count,
    gather_channels,
    gather_parameters,
    gather_projections,
    new_pixels,
    project_dt,
    visit_pixels,
)
from swin_umamba.ops.native.vector import LANES, load, load_lanes, store, store_lanes, zeros_aligned


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

    pixels = new_pixels()
    scratch = zeros_aligned(2 * LANES)
    delta = zeros_aligned(CHUNK * LANES)
    delta_u = zeros_aligned(CHUNK * LANES)
    u = zeros_aligned(CHUNK * LANES)
    output = zeros_aligned(CHUNK * LANES)
    dt_low = zeros_aligned(CHUNK * dt_rank).reshape(CHUNK, dt_rank)
    B = zeros_aligned(d_state * CHUNK).reshape(d_state, CHUNK)
    C = zeros_aligned(d_state * CHUNK).reshape(d_state, CHUNK)
    weight_tiles = zeros_aligned(blocks * dt_rank * LANES).reshape(blocks, dt_rank, LANES)
    bias_tiles = zeros_aligned(blocks * LANES).reshape(blocks, LANES)
    A_tiles = zeros_aligned(blocks * d_state * LANES).reshape(blocks, d_state, LANES)
    D_tiles = zeros_aligned(blocks * LANES).reshape(blocks, LANES)
    h = zeros_aligned(blocks * d_state * LANES).reshape(blocks, d_state, LANES)

    for direction in (0, 2, 1, 3):
        gather_parameters(
            direction, first_block, dt_projs_weight, dt_projs_bias, A, D,
            weight_tiles, bias_tiles, A_tiles, D_tiles,
        )  # fmt: skip
        h[:] = 0
        for chunk in range(chunk_count(length)):
            first_step = chunk * CHUNK
            steps = min(CHUNK, length - first_step)
            visit_pixels(direction, first_step, steps, height, width, pixels)
            gather_projections(batch, direction, pixels, steps, x_dbl, dt_low, B, C)
            for block in range(blocks):
                channel = (first_block + block) * LANES
                lanes = min(LANES, d_inner - channel)
                if save:
                    saved_states[batch, direction, chunk, first_block + block] = h[block]
                project_dt(steps, dt_low, weight_tiles[block], bias_tiles[block], delta)
                gather_channels(batch, pixels, steps, channel, lanes, x, u, scratch)
                apply_softplus(steps, delta, u, delta_u)
                skip = load(D_tiles, block * LANES)
                for t in range(steps):
                    store(output, t * LANES, skip * load(u, t * LANES))
                scan_chunk(steps, d_state, delta, delta_u, A_tiles[block], B, C, h[block], output)
                for t in range(steps):
                    total = load(output, t * LANES)
                    offset = (batch * length + pixels[t]) * d_inner + channel
                    if direction > 0:
                        total = load_lanes(y, offset, lanes, scratch) + total
                    store_lanes(y, offset, lanes, total, scratch)
