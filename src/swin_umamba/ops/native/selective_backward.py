"""Backward kernels of the selective scan over sequences (the adjoint itself is in ``adjoint.py``).

The adjoint starts from the gradient of the last state. The gradients of B and C are sums over the channels of
a group: one partial sum per work item, added in order, so that no bit depends on the number of threads.
"""

from __future__ import annotations

from numba import njit

from swin_umamba.ops.native.adjoint import TILES_SIZE, input_gradients, new_tiles, scan_chunk_backward
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
from swin_umamba.ops.native.vector import LANES, clear, load, pointer, zeros_aligned


@kernel
def selective_backward(  # type: ignore[no-untyped-def]
    batch, group, part, first_channel, last_channel,
    grad_y, grad_last_state, saved_states, u, delta, A, B, C, D, delta_bias, with_softplus,
    grad_u, grad_delta, grad_A, partial, grad_D, grad_bias,
):  # fmt: skip
    """Run the adjoint over channels ``first_channel`` up to ``last_channel``, exclusive, all of one group.

    The gradients of B and C, summed over these channels, go into ``partial[batch, group, part]``, of shape
    (chunks, 2, d_state, chunk length). Those of A, D and the bias are per sequence: (batch, dim, numbers per
    channel).
    """
    # 1. Memory for one block of channels, and for what all blocks carry from chunk to chunk.
    length, d_state = u.shape[2], A.shape[1]
    blocks = (last_channel - first_channel + LANES - 1) // LANES
    sequences, tiles_memory = zeros_aligned(2 * CHUNK * LANES), zeros_aligned(TILES_SIZE)
    rows = zeros_aligned(CHUNK * 2 * d_state)
    # For one block: D, bias, A and the states before the chunk.
    parameters = zeros_aligned((2 + 2 * d_state) * LANES)
    # For all blocks: the same order, with the carried adjoint in place of the states.
    gradients = zeros_aligned(blocks * (2 + 2 * d_state) * LANES)

    # 2. The adjoint begins with the gradient of the last state.
    for block in range(blocks):
        channel = first_channel + block * LANES
        _, _, _, carry = _per_block(gradients, block, d_state)
        gather_channel_values(channel, min(LANES, last_channel - channel), grad_last_state[batch], carry)

    # 3. Chunk by chunk, back in time: load, discretise, scan forwards and backwards, store.
    for chunk in range(chunk_count(length) - 1, -1, -1):
        first_step = chunk * CHUNK
        steps = min(CHUNK, length - first_step)
        gather_weights(batch, group, first_step, steps, B, C, rows)
        sums = partial[batch, group, part, chunk]
        clear(sums, sums.size)
        for block in range(blocks):
            u_tile, grad_y_tile = pointer(sequences, 0), pointer(sequences, CHUNK * LANES)
            tiles = new_tiles(tiles_memory, u_tile, grad_y_tile)
            skip, bias, rates, h_first = _per_block(parameters, 0, d_state)
            skip_gradient, bias_gradient, rate_gradient, carry = _per_block(gradients, block, d_state)
            channel = first_channel + block * LANES
            lanes = min(LANES, last_channel - channel)
            gather_channel_values(channel, lanes, saved_states[batch, chunk], h_first)
            gather_channel_values(channel, lanes, A, rates)
            gather_channel_values(channel, lanes, D, skip)
            gather_channel_values(channel, lanes, delta_bias, bias)
            if lanes < LANES:  # the sums over channels must not include what the previous block left there
                clear(sequences, sequences.size)
                clear(tiles.delta, CHUNK * LANES)
            gather_sequence(batch, channel, lanes, first_step, steps, u, tiles.u)
            gather_sequence(batch, channel, lanes, first_step, steps, delta, tiles.delta)
            gather_sequence(batch, channel, lanes, first_step, steps, grad_y, tiles.grad_y)
            discretize(steps, tiles.delta, bias, with_softplus, tiles.u, tiles.delta_u, tiles.slope)
            scan_chunk_backward(
                steps, d_state, 2 * d_state, tiles, rates, pointer(rows, 0), h_first, carry,
                rate_gradient, pointer(sums, 0), pointer(sums, d_state * CHUNK), CHUNK, LANES,
            )  # fmt: skip
            input_gradients(steps, tiles, load(skip, 0), skip_gradient, bias_gradient)
            scatter_sequence(batch, channel, lanes, first_step, steps, tiles.u, grad_u)
            scatter_sequence(batch, channel, lanes, first_step, steps, tiles.grad_delta, grad_delta)

    # 4. The sums over all steps.
    for block in range(blocks):
        channel = first_channel + block * LANES
        lanes = min(LANES, last_channel - channel)
        skip_gradient, bias_gradient, rate_gradient, _ = _per_block(gradients, block, d_state)
        scatter_channel_values(batch, channel, lanes, rate_gradient, grad_A)
        scatter_channel_values(batch, channel, lanes, skip_gradient, grad_D)
        scatter_channel_values(batch, channel, lanes, bias_gradient, grad_bias)


@njit(nogil=True)
def _per_block(memory, block, d_state):  # type: ignore[no-untyped-def]
    """Return pointers to the parts of a block: D and bias (16), A and the states (d_state, 16)."""
    first = block * (2 + 2 * d_state) * LANES
    return (
        pointer(memory, first),
        pointer(memory, first + LANES),
        pointer(memory, first + 2 * LANES),
        pointer(memory, first + (2 + d_state) * LANES),
    )


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
