"""The forward of both scans: a loop over the time steps of a chunk, with all states in registers.

A thread owns one or two channels with all their states, so that a step is a multiply-add and an exponential
for each state and nothing ever moves between threads. Two channels share the loads of B and C. A chunk may
have any number of steps: only the states between chunks go through memory.

Offsets are scalars, the same for all threads, so 64 bits cost nothing.
"""

from __future__ import annotations

import triton
import triton.language as tl

from swin_umamba.ops.triton.tiles import LOG2_E, load_tile, single_numbers, softplus


@triton.jit
def path_of_chunk(  # type: ignore[no-untyped-def]
    chunk, steps, length, height, width, by_columns, backwards
):
    """Return how to walk through a chunk of ``steps`` positions of a path by rows or by columns.

    Returns
    -------
    count, pixel, left
        The number of steps, fewer in the last chunk; the first pixel; the steps from it to the end of its
        line.
    stride, jump, line
        The distance to the next pixel, within a line and from its end; the pixels of a line. A path by rows
        is a single line.
    """
    first = chunk * steps
    count = tl.minimum(steps, length - first)
    position = first + tl.where(backwards != 0, count - 1, 0)
    line = tl.where(by_columns != 0, height, length)
    place = position % line
    pixel = tl.where(by_columns != 0, place * width + position // line, position).to(tl.int64)
    left = tl.where(backwards != 0, place, line - 1 - place)
    sign = tl.where(backwards != 0, -1, 1)
    stride = sign * tl.where(by_columns != 0, width, 1)
    jump = sign * (1 - (line - 1) * width)
    return count, pixel, left, stride, jump, line


@triton.jit
def next_pixel(pixel, left, stride, jump, line):  # type: ignore[no-untyped-def]
    """Return the next pixel of a path, and the steps from it to the end of its line."""
    at_end = left == 0
    return pixel + tl.where(at_end, jump, stride), tl.where(at_end, line, left) - 1


@triton.jit
def load_rates(A, channel_mask, D_STATE: tl.constexpr, STATES: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return A of (STATES, channels) for powers of two; ``A`` points to state 0 of each channel."""
    n = single_numbers(STATES)[:, None]
    return tl.load(A[None, :] + n, mask=channel_mask[None, :] & (n < D_STATE), other=0.0) * LOG2_E


@triton.jit
def load_weights(weight, channel_mask, RANK: tl.constexpr, RANKS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return the weights (RANKS, channels) that make a channel's step size of a low-rank one, if any do."""
    if RANK > 0:
        r = single_numbers(RANKS)[:, None]
        return tl.load(weight[None, :] + r, mask=channel_mask[None, :] & (r < RANK), other=0.0)
    else:
        return 0.0


@triton.jit
def step_size(  # type: ignore[no-untyped-def]
    delta, low, weights, bias, channel_mask,
    RANK: tl.constexpr, RANKS: tl.constexpr, SOFTPLUS: tl.constexpr,
):  # fmt: skip
    """Return the step sizes of one time step, from the RANK numbers at ``low`` or from ``delta``."""
    if RANK > 0:
        r = single_numbers(RANKS)
        numbers = load_tile(low + r, r < RANK)
        projected = tl.sum(weights * numbers[:, None], axis=0) + bias
    else:
        projected = load_tile(delta, channel_mask) + bias
    if SOFTPLUS:
        return softplus(projected)
    else:
        return projected


@triton.jit
def run_states(  # type: ignore[no-untyped-def]
    state, total, values, delta, low, matrix, weights, bias, rate, channel_mask, value_stride, row_stride,
    state_stride, count, pixel, left, stride, jump, line,
    ADJOINT: tl.constexpr, D_STATE: tl.constexpr, STATES: tl.constexpr, RANK: tl.constexpr,
    RANKS: tl.constexpr, SOFTPLUS: tl.constexpr,
):  # fmt: skip
    """Take ``count`` steps from ``state`` (STATES, channels), and add their sizes to ``total``.

    ``values`` and ``delta`` point to pixel 0 of each channel, ``low`` and ``matrix`` to that of all channels.
    With ``ADJOINT``, ``values`` are gradients of the output and ``matrix`` is C: what leaves a step is its
    decay times all that has entered so far.

    Returns
    -------
    state, total, pixel, left
        After these steps, with the pixel of the next one.
    """
    n = single_numbers(STATES)
    for _ in range(count):
        at = pixel * value_stride
        row = pixel * row_stride
        step = step_size(delta + at, low + row, weights, bias, channel_mask, RANK, RANKS, SOFTPLUS)
        value = load_tile(values + at, channel_mask)
        column = load_tile(matrix + row + n * state_stride, n < D_STATE)
        decay = tl.exp2(step[None, :] * rate)
        if ADJOINT:
            state = decay * (state + value[None, :] * column[:, None])
        else:
            state = decay * state + (step * value)[None, :] * column[:, None]
        total += step
        pixel, left = next_pixel(pixel, left, stride, jump, line)
    return state, total, pixel, left


@triton.jit
def outputs_of_chunk(  # type: ignore[no-untyped-def]
    state, values, delta, low, B, C, weights, bias, rate, skip, channel_mask, partial, add, target,
    value_stride, row_stride, state_stride, count, pixel, left, stride, jump, line,
    D_STATE: tl.constexpr, STATES: tl.constexpr, RANK: tl.constexpr, RANKS: tl.constexpr,
    SOFTPLUS: tl.constexpr,
):  # fmt: skip
    """Store the outputs of a chunk that starts from ``state``, on top of ``partial`` if ``add``."""
    n = single_numbers(STATES)
    state_mask = n < D_STATE
    for _ in range(count):
        at = pixel * value_stride
        row = pixel * row_stride
        step = step_size(delta + at, low + row, weights, bias, channel_mask, RANK, RANKS, SOFTPLUS)
        value = load_tile(values + at, channel_mask)
        before = load_tile(partial + at, channel_mask & add)
        B_t = load_tile(B + row + n * state_stride, state_mask)
        C_t = load_tile(C + row + n * state_stride, state_mask)
        state = tl.exp2(step[None, :] * rate) * state + (step * value)[None, :] * B_t[:, None]
        out = tl.sum(state * C_t[:, None], axis=0) + skip * value + before
        tl.store(target + at, out.to(target.dtype.element_ty), mask=channel_mask)
        pixel, left = next_pixel(pixel, left, stride, jump, line)
