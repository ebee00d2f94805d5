"""Backward kernels of the selective scan over sequences.

As in ``ss2d_backward.py``, with the step size given instead of projected; the gradient of the last state is
where the adjoint starts from. The gradients of B and C are sums over the channels of a group: one partial sum
per work item, added in order, so that no bit depends on the number of threads.
"""

from __future__ import annotations

from swin_umamba.ops.native.chunk import CHUNK, chunk_count, input_gradients, scan_chunk_backward
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
    u_tile = zeros_aligned(CHUNK * LANES)
    delta_tile = zeros_aligned(CHUNK * LANES)
    delta_u = zeros_aligned(CHUNK * LANES)
    slope = zeros_aligned(CHUNK * LANES)
    grad_output = zeros_aligned(CHUNK * LANES)
    grad_step = zeros_aligned(CHUNK * LANES)
    grad_delta_u = zeros_aligned(CHUNK * LANES)
    decays = zeros_aligned(CHUNK * LANES)
    h = zeros_aligned(CHUNK * LANES)
    products_B = zeros_aligned(CHUNK * LANES)
    products_C = zeros_aligned(CHUNK * LANES)
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
        clear(grad_B)
        clear(grad_C)
        for block in range(blocks):
            channel = first_channel + block * LANES
            lanes = min(LANES, last_channel - channel)
            gather_channel_values(channel, lanes, saved_states[batch, chunk], h_first)
            gather_channel_values(channel, lanes, A, A_tile)
            gather_channel_values(channel, lanes, D, D_tile)
            gather_channel_values(channel, lanes, delta_bias, bias_tile)
            gather_sequence(batch, channel, lanes, first_step, steps, u, u_tile)
            gather_sequence(batch, channel, lanes, first_step, steps, delta, delta_tile)
            gather_sequence(batch, channel, lanes, first_step, steps, grad_y, grad_output)
            discretize(steps, delta_tile, bias_tile, with_softplus, u_tile, delta_u, slope)
            clear(grad_step)
            clear(grad_delta_u)
            scan_chunk_backward(
                steps, grad_output, delta_tile, delta_u, A_tile, rows, 0, h_first,
                decays, h, products_B, products_C,
                carry[block], grad_step, grad_delta_u, grad_A_tiles[block], grad_B, grad_C,
            )  # fmt: skip
            # The products are done with: their tile takes the gradient of u.
            input_gradients(
                steps, u_tile, delta_tile, slope, grad_output, grad_step, grad_delta_u, load(D_tile, 0),
                grad_D_tiles[block], grad_bias_tiles[block], products_B,
            )  # fmt: skip
            scatter_sequence(batch, channel, lanes, first_step, steps, products_B, grad_u)
            scatter_sequence(batch, channel, lanes, first_step, steps, grad_step, grad_delta)

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
