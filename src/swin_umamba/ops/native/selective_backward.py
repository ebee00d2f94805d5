"""Backward kernels of the selective scan over sequences (the adjoint itself is in ``adjoint.py``).

The gradient of the last state is where the adjoint starts from. The gradients of B and C are sums over the
channels of a group: one partial sum per work item, added in order, so that no bit depends on the number of
threads.
"""

from __future__ import annotations

from swin_umamba.ops.native.adjoint import input_gradients, new_tiles, scan_chunk_backward
from swin_umamba.ops.native.chunk import CHUNK, chunk_count
from swin_umamba.ops.native.compile import kernel
from swin_umamba.ops.native.selective_tiles import (
    discretize,
    gather_channel_values,
    gather_sequence,
    gather_weights,
    scatter_channel_values,
    scatter_sequence,
)
from swin_umamba.ops.native.vector import LANES, clear, load, zeros_aligned


@kernel
def selective_backward(  # type: ignore[no-untyped-def]
    batch, group, part, first_channel, last_channel,
    grad_y, grad_last_state, saved_states, u, delta, A, B, C, D, delta_bias, with_softplus,
    grad_u, grad_delta, grad_A, partial, grad_D, grad_bias,
):  # fmt: skip
    """Run the adjoint over the channels from ``first_channel`` to before ``last_channel``, all of one group.

    The gradients of B and C summed over these channels go into ``partial[batch, group, part]``, of shape
    (chunks, 2, d_state, chunk length). Those of A, D and the bias are per sequence: (batch, dim, numbers per
    channel).
    """
    length, d_state = u.shape[2], A.shape[1]
    tiles = new_tiles()
    rows = zeros_aligned(CHUNK * 2 * d_state).reshape(CHUNK, 2 * d_state)
    blocks = (last_channel - first_channel + LANES - 1) // LANES
    h_first = zeros_aligned(d_state * LANES).reshape(d_state, LANES)
    A_tile = zeros_aligned(d_state * LANES).reshape(d_state, LANES)
    D_tile = zeros_aligned(LANES).reshape(1, LANES)
    bias_tile = zeros_aligned(LANES).reshape(1, LANES)
    carry = zeros_aligned(blocks * d_state * LANES).reshape(blocks, d_state, LANES)
    grad_A_tiles = zeros_aligned(blocks * d_state * LANES).reshape(blocks, d_state, LANES)
    grad_D_tiles = zeros_aligned(blocks * LANES).reshape(blocks, 1, LANES)
    grad_bias_tiles = zeros_aligned(blocks * LANES).reshape(blocks, 1, LANES)

    for block in range(blocks):
        channel = first_channel + block * LANES
        lanes = min(LANES, last_channel - channel)
        gather_channel_values(channel, lanes, grad_last_state[batch], carry[block])

    for chunk in range(chunk_count(length) - 1, -1, -1):
        first_step = chunk * CHUNK
        steps = min(CHUNK, length - first_step)
        gather_weights(batch, group, first_step, steps, B, C, rows)
        grad_B, grad_C = partial[batch, group, part, chunk, 0], partial[batch, group, part, chunk, 1]
        clear(partial[batch, group, part, chunk])
        for block in range(blocks):
            channel = first_channel + block * LANES
            lanes = min(LANES, last_channel - channel)
            gather_channel_values(channel, lanes, saved_states[batch, chunk], h_first)
            gather_channel_values(channel, lanes, A, A_tile)
            gather_channel_values(channel, lanes, D, D_tile)
            gather_channel_values(channel, lanes, delta_bias, bias_tile)
            gather_sequence(batch, channel, lanes, first_step, steps, u, tiles.u)
            gather_sequence(batch, channel, lanes, first_step, steps, delta, tiles.delta)
            gather_sequence(batch, channel, lanes, first_step, steps, grad_y, tiles.grad_y)
            discretize(steps, tiles.delta, bias_tile, with_softplus, tiles.u, tiles.delta_u, tiles.slope)
            scan_chunk_backward(
                steps, tiles, A_tile, rows, 0, h_first, carry[block], grad_A_tiles[block], grad_B, grad_C
            )
            input_gradients(steps, tiles, load(D_tile, 0), grad_D_tiles[block], grad_bias_tiles[block])
            scatter_sequence(batch, channel, lanes, first_step, steps, tiles.grad_u, grad_u)
            scatter_sequence(batch, channel, lanes, first_step, steps, tiles.grad_delta, grad_delta)

    for block in range(blocks):
        channel = first_channel + block * LANES
        lanes = min(LANES, last_channel - channel)
        scatter_channel_values(batch, channel, lanes, grad_A_tiles[block], grad_A)
        scatter_channel_values(batch, channel, lanes, grad_D_tiles[block], grad_D)
        scatter_channel_values(batch, channel, lanes, grad_bias_tiles[block], grad_bias)


@kernel
def add_parts(batch, group, partial, grad_B, grad_C):  # type: ignore[no-untyped-def]
    """Add up the partial gradients of B and C of one group, in order."""
    d_state, length = grad_B.shape[2:]
    for n in range(d_state):
        for chunk in range(chunk_count(length)):
            first_step = chunk * CHUNK
            for t in range(min(CHUNK, length - first_step)):
                total_B = partial[batch, group, 0, chunk, 0, n, t]
                total_C = partial[batch, group, 0, chunk, 1, n, t]
                for part in range(1, partial.shape[2]):
                    total_B += partial[batch, group, part, chunk, 0, n, t]
                    total_C += partial[batch, group, part, chunk, 1, n, t]
                grad_B[batch, group, n, first_step + t] = total_B
                grad_C[batch, group, n, first_step + t] = total_C
