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
from swin_umamba.ops.native.vector import LANES, load, pointer, zeros_aligned


@kernel
def selective_forward(  # type: ignore[no-untyped-def]
    batch, group, first_channel, last_channel, u, delta, A, B, C, D, delta_bias, with_softplus,
    y, last_state, saved_states,
):  # fmt: skip
    """Scan channels ``first_channel`` up to ``last_channel``, exclusive, all of one group.

    ``D`` and ``delta_bias`` are (dim, 1). The state before each chunk goes into ``saved_states`` (batch,
    chunks, dim, d_state).
    """
    # 1. Memory for one block of channels, and the states of all blocks.
    length, d_state = u.shape[2], A.shape[1]
    blocks = (last_channel - first_channel + LANES - 1) // LANES
    tiles = zeros_aligned(4 * CHUNK * LANES)
    rows = zeros_aligned(CHUNK * 2 * d_state)
    parameters = zeros_aligned((d_state + 2) * LANES)
    states = zeros_aligned(blocks * d_state * LANES)

    # 2. Chunk by chunk: keep the states, load, discretise, scan, store.
    for chunk in range(chunk_count(length)):
        first_step = chunk * CHUNK
        steps = min(CHUNK, length - first_step)
        gather_weights(batch, group, first_step, steps, B, C, rows)
        for block in range(blocks):
            u_tile, delta_tile = pointer(tiles, 0), pointer(tiles, CHUNK * LANES)
            delta_u, slope = pointer(tiles, 2 * CHUNK * LANES), pointer(tiles, 3 * CHUNK * LANES)
            skip, bias, rates = (
                pointer(parameters, 0),
                pointer(parameters, LANES),
                pointer(parameters, 2 * LANES),
            )
            h = pointer(states, block * d_state * LANES)
            channel = first_channel + block * LANES
            lanes = min(LANES, last_channel - channel)
            scatter_channel_values(batch, channel, lanes, h, saved_states[:, chunk])
            gather_channel_values(channel, lanes, A, rates)
            gather_channel_values(channel, lanes, D, skip)
            gather_channel_values(channel, lanes, delta_bias, bias)
            gather_sequence(batch, channel, lanes, first_step, steps, u, u_tile)
            gather_sequence(batch, channel, lanes, first_step, steps, delta, delta_tile)
            discretize(steps, delta_tile, bias, with_softplus, u_tile, delta_u, slope)
            start_output(steps, load(skip, 0), u_tile)
            scan_chunk(steps, d_state, 2 * d_state, delta_tile, delta_u, rates, pointer(rows, 0), h, u_tile)
            scatter_sequence(batch, channel, lanes, first_step, steps, u_tile, y)
    # 3. The states after the last step.
    for block in range(blocks):
        channel = first_channel + block * LANES
        lanes = min(LANES, last_channel - channel)
        h = pointer(states, block * d_state * LANES)
        scatter_channel_values(batch, channel, lanes, h, last_state)
