"""Shared parts of the kernels: functions, scans and addresses of a tile of (CHUNK steps, channels).

Every thread owns all time steps of one or two channels. A scan over the first axis of such a tile is thus a
plain sequence of multiply-adds in registers; nothing moves between threads but in sums over channels.
"""

from __future__ import annotations

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def softplus(v):  # type: ignore[no-untyped-def]
    """Return log(1 + exp(v)), to float32 precision even for very negative ``v``, where it is nearly exp(v).

    With z = exp(-|v|) it is max(v, 0) + log(1 + z), and log(1 + z) = 2 artanh(z / (2 + z)), whose series
    converges quickly because its argument is at most 1/3. The GPU's logarithm is precise only in absolute
    terms, which would cost a small step size half its digits.
    """
    z = tl.exp(-tl.abs(v))
    ratio = z / (2.0 + z)
    square = ratio * ratio
    series = 1.0 / 13.0 + square * (1.0 / 15.0)
    series = 1.0 / 11.0 + square * series
    series = 1.0 / 9.0 + square * series
    series = 1.0 / 7.0 + square * series
    series = 1.0 / 5.0 + square * series
    series = 1.0 / 3.0 + square * series
    return tl.maximum(v, 0.0) + 2.0 * ratio * (1.0 + square * series)


@triton.jit
def softplus_slope(step):  # type: ignore[no-untyped-def]
    """Return the derivative of softplus from its value: 1 - exp(-step).

    For small steps the series is used, since the difference would lose the digits that matter.
    """
    series = 1.0 - step * (1.0 / 6.0)
    series = 1.0 - step * (1.0 / 5.0) * series
    series = 1.0 - step * (1.0 / 4.0) * series
    series = 1.0 - step * (1.0 / 3.0) * series
    series = 1.0 - step * (1.0 / 2.0) * series
    return tl.where(step < 0.25, step * series, 1.0 - tl.exp(-step))


@triton.jit
def _turned(x, REVERSE: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return the tile with its last step first, if ``REVERSE``.

    The steps of a tile are registers of one thread, so this only renames them. The scan's own option would
    reverse the lanes of a warp, too: ten exchanges between threads for every number.
    """
    if REVERSE:
        return tl.flip(x, 0)
    else:
        return x


@triton.jit
def _compose_before(  # type: ignore[no-untyped-def]
    a, b, a_before, b_before, next_a, next_b, next_a_before, next_b_before
):
    """Compose two affine maps h -> a h + b; the second pair is the composition without the last step."""
    return a * next_a, next_a * b + next_b, a * next_a_before, next_a_before * b + next_b_before


@triton.jit
def exclusive_scan(a, b, REVERSE: tl.constexpr):  # type: ignore[no-untyped-def]
    """Compose the maps of all steps before each one; the identity for the first.

    A single step has the identity before it. The compiler sees these constants, so the exclusive scan costs
    no more than an inclusive one. Undoing the last step of an inclusive scan would instead divide by a decay
    that may be zero, or subtract numbers that are nearly equal.
    """
    one = tl.full(a.shape, 1.0, tl.float32)
    zero = tl.full(a.shape, 0.0, tl.float32)
    turned = (_turned(a, REVERSE), _turned(b, REVERSE), one, zero)
    _, _, a_before, b_before = tl.associative_scan(turned, 0, _compose_before)
    return _turned(a_before, REVERSE), _turned(b_before, REVERSE)


@triton.jit
def single_numbers(SIZE: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return 0 to SIZE - 1, telling the compiler that they are not consecutive.

    Otherwise it would have a thread read four neighbours at once and divide the time steps among the threads,
    and every scan would have to pass numbers between threads.
    """
    return tl.max_contiguous(tl.arange(0, SIZE), 1)


@triton.jit
def channels_of_block(CHANNELS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return the numbers of the channels of this program, whose second index is the block."""
    return tl.program_id(1) * CHANNELS + single_numbers(CHANNELS)


@triton.jit
def load_tile(pointers, mask):  # type: ignore[no-untyped-def]
    """Load numbers as float32, zero where masked."""
    return tl.load(pointers, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def step_sizes(  # type: ignore[no-untyped-def]
    pointers, mask, bias, channel_mask, HAS_BIAS: tl.constexpr, SOFTPLUS: tl.constexpr
):
    """Return the step sizes of a tile, zero where masked; ``bias`` points to those of the channels."""
    delta = load_tile(pointers, mask)
    if HAS_BIAS:
        delta += tl.load(bias, mask=channel_mask, other=0.0)[None, :]
    if SOFTPLUS:
        delta = softplus(delta)
    return tl.where(mask, delta, 0.0)


@triton.jit
def state_gradients(  # type: ignore[no-untyped-def]
    delta, u, grad_y, B, C, rows, row_mask, row_stride, A, starts, leaving, channel_mask, d_inner,
    partial_B, partial_C, partial_stride, D_STATE: tl.constexpr, REVERSE: tl.constexpr,
):  # fmt: skip
    """Run through all states of a chunk, forwards and backwards.

    With a_t = exp(delta_t A), g_t the gradient of h_t and c_t = a_t g_t the one passed on to h_{t-1}::

        c_t = a_t (C_t grad_y_t + c_{t+1})         g_t = C_t grad_y_t + c_{t+1}

    is an affine recurrence with the same coefficients a_t, back in time, from ``leaving``, the gradient of
    the state that leaves the chunk. Stores the sums over these channels that make up the gradients of B and
    C and, in place of ``leaving``, the sum over time of delta_t c_t h_{t-1}, the gradient of A.

    Returns
    -------
    through_input, through_decay
        Sum over n of g_t B_t, the gradient of delta_t u_t; sum over n of A c_t h_{t-1}, the gradient of
        delta_t by way of the decays.
    """
    delta_u = delta * u
    through_input = tl.full(delta.shape, 0.0, tl.float32)
    through_decay = tl.full(delta.shape, 0.0, tl.float32)
    for n in range(D_STATE):
        rate = tl.load(A + n, mask=channel_mask, other=0.0)
        start = tl.load(starts + n * d_inner, mask=channel_mask, other=0.0)
        end = tl.load(leaving + n * d_inner, mask=channel_mask, other=0.0)
        B_n = load_tile(B + n * row_stride + rows, row_mask)
        C_n = load_tile(C + n * row_stride + rows, row_mask)
        decay = tl.exp2(delta * (rate * LOG2_E)[None, :])

        added = delta_u * B_n[:, None]
        decay_before, added_before = exclusive_scan(decay, added, REVERSE)
        state_before = decay_before * start[None, :] + added_before
        grad_C = tl.sum((decay * state_before + added) * grad_y, axis=1)
        tl.store(partial_C + n * partial_stride, grad_C, mask=row_mask)

        direct = grad_y * C_n[:, None]
        decay_after, added_after = exclusive_scan(decay, decay * direct, not REVERSE)
        grad_state = direct + decay_after * end[None, :] + added_after
        grad_B = tl.sum(grad_state * delta_u, axis=1)
        tl.store(partial_B + n * partial_stride, grad_B, mask=row_mask)

        through_input += grad_state * B_n[:, None]
        grad_exponent = decay * grad_state * state_before
        through_decay += grad_exponent * rate[None, :]
        tl.store(leaving + n * d_inner, tl.sum(grad_exponent * delta, axis=0), mask=channel_mask)
    return through_input, through_decay
