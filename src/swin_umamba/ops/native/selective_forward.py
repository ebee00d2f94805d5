"""Forward kernel of the selective scan over sequences (the recurrence itself is in ``chunk.py``)."""

from __future__ import annotations

from swin_umamba.ops.native.chunk import CHUNK, chunk_count, scan_chunk, start_output
from swin_umamba.ops.native.compile import kernel
from swin_umamba.ops.native.selective_tiles import (
    discretize,
    gather_channel_values,
    gather_sequence,
    gather_weights,
    scatter_channel_values,
    scatter_sequence,
)
from swin_umamba.ops.native.vector import LANES, load, zeros_aligned


@kernel
def selective_forward(  # type: ignore[no-untyped-def]
    batch, group, first_channel, last_channel, u, delta, A, B, C, D, delta_bias, with_softplus,
    y, last_state, saved_states,
):  # fmt: skip
    """Scan the channels from ``first_channel`` to before ``last_channel``, all of one group.

    ``D`` and ``delta_bias`` are (dim, 1). The state before each chunk goes into ``saved_states`` (batch,
    chunks, dim, d_state).
    """
    length, d_state = u.shape[2], A.shape[1]
    u_tile = zeros_aligned(CHUNK * LANES)
    delta_tile = zeros_aligned(CHUNK * LANES)
    delta_u = zeros_aligned(CHUNK * LANES)
    slope = zeros_aligned(CHUNK * LANES)
    output = zeros_aligned(CHUNK * LANES)
    rows = zeros_aligned(CHUNK * 2 * d_state).reshape(CHUNK, 2 * d_state)
    blocks = (last_channel - first_channel + LANES - 1) // LANES
    A_tile = zeros_aligned(d_state * LANES).reshape(d_state, LANES)
    D_tile = zeros_aligned(LANES).reshape(1, LANES)
    bias_tile = zeros_aligned(LANES).reshape(1, LANES)
    h = zeros_aligned(blocks * d_state * LANES).reshape(blocks, d_state, LANES)

    for chunk in range(chunk_count(length)):
        first_step = chunk * CHUNK
        steps = min(CHUNK, length - first_step)
        gather_weights(batch, group, first_step, steps, B, C, rows)
        for block in range(blocks):
            channel = first_channel + block * LANES
            lanes = min(LANES, last_channel - channel)
            scatter_channel_values(batch, channel, lanes, h[block], saved_states[:, chunk])
            gather_channel_values(channel, lanes, A, A_tile)
            gather_channel_values(channel, lanes, D, D_tile)
            gather_channel_values(channel, lanes, delta_bias, bias_tile)
            gather_sequence(batch, channel, lanes, first_step, steps, u, u_tile)
            gather_sequence(batch, channel, lanes, first_step, steps, delta, delta_tile)
            discretize(steps, delta_tile, bias_tile, with_softplus, u_tile, delta_u, slope)
            start_output(steps, load(D_tile, 0), u_tile, output)
            scan_chunk(steps, delta_tile, delta_u, A_tile, rows, 0, h[block], output)
            scatter_sequence(batch, channel, lanes, first_step, steps, output, y)
    for block in range(blocks):
        channel = first_channel + block * LANES
        lanes = min(LANES, last_channel - channel)
        scatter_channel_values(batch, channel, lanes, h[block], last_state)
