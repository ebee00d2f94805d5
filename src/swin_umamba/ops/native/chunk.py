"""The recurrence over one chunk of time steps and one block of 16 channels.

For one channel and one state (u input, delta step size, A decay rate, B and C input and output weights, h
state)::

    h_t = a_t h_{t-1} + (delta_t u_t) B_t,     a_t = exp(delta_t A)
    y_t = sum over states of C_t h_t

The lanes of a vector are 16 channels, so that B_t and C_t are scalars to it. All arrays are tiles in the
first-level cache: (chunk, 16) for a quantity per step and channel, (d_state, 16) per state and channel.
``rows`` (chunk, columns) holds B_t in d_state columns from ``B_column`` on, and C_t in the next d_state. Two
states advance together: they share what is loaded and stored per step, and hide each other's latency. The
kernels run with denormal numbers flushed to zero (``threads.py``), or states that die out would cost 20 times
as much as those that live.
"""

from __future__ import annotations

from numba import njit

from swin_umamba.ops.native.math import exp2, scaled_for_exp2, softplus_and_sigmoid
from swin_umamba.ops.native.vector import LANES, broadcast, fma, load, store

# Saved states cost 4 * d_state / CHUNK activations of memory. The dozen tiles of a chunk have to fit
# into a first-level cache of 32 KiB: 64 steps do not, and are slower.
CHUNK = 32


@njit(nogil=True)
def chunk_count(length):  # type: ignore[no-untyped-def]
    """Number of chunks of a sequence, the last of which may be shorter."""
    return (length + CHUNK - 1) // CHUNK


@njit(nogil=True)
def apply_softplus(steps, delta, u, delta_u):  # type: ignore[no-untyped-def]
    """Turn ``delta`` into softplus(delta) and compute delta * u."""
    for t in range(steps):
        step_size, _ = softplus_and_sigmoid(load(delta, t * LANES))
        store(delta, t * LANES, step_size)
        store(delta_u, t * LANES, step_size * load(u, t * LANES))


@njit(nogil=True)
def apply_softplus_with_slope(steps, delta, u, delta_u, slope):  # type: ignore[no-untyped-def]
    """As ``apply_softplus``, with its derivative at ``delta``."""
    for t in range(steps):
        step_size, derivative = softplus_and_sigmoid(load(delta, t * LANES))
        store(slope, t * LANES, derivative)
        store(delta, t * LANES, step_size)
        store(delta_u, t * LANES, step_size * load(u, t * LANES))


@njit(nogil=True)
def start_output(steps, skip, u, y):  # type: ignore[no-untyped-def]
    """Let ``y`` be the input times the skip weight D."""
    for t in range(steps):
        store(y, t * LANES, skip * load(u, t * LANES))


@njit(nogil=True)
def scan_chunk(steps, delta, delta_u, A, rows, B_column, h, y):  # type: ignore[no-untyped-def]
    """Advance ``h`` by ``steps`` and add the outputs to ``y``."""
    d_state, columns = h.shape[0], rows.shape[1]
    for n in range(0, d_state, 2):
        m = min(n + 1, d_state - 1)
        paired = m > n
        rate_n, state_n = scaled_for_exp2(load(A, n * LANES)), load(h, n * LANES)
        rate_m, state_m = scaled_for_exp2(load(A, m * LANES)), load(h, m * LANES)
        for t in range(steps):
            row, B = t * LANES, t * columns + B_column
            C = B + d_state
            step_size, product = load(delta, row), load(delta_u, row)
            state_n = fma(exp2(step_size * rate_n), state_n, product * broadcast(rows, B + n))
            output = fma(state_n, broadcast(rows, C + n), load(y, row))
            if paired:
                state_m = fma(exp2(step_size * rate_m), state_m, product * broadcast(rows, B + m))
                output = fma(state_m, broadcast(rows, C + m), output)
            store(y, row, output)
        store(h, n * LANES, state_n)
        if paired:
            store(h, m * LANES, state_m)
