"""The recurrence over one chunk of time steps and one block of 16 channels.

For one channel and one state (u input, delta step size, A decay rate, B and C input and output weights, h
state)::

    h_t = a_t h_{t-1} + (delta_t u_t) B_t,     a_t = exp(delta_t A)
    y_t = sum over states of C_t h_t

The lanes of a vector are 16 channels, so that B_t and C_t are scalars to it. All arguments but sizes are
pointers to tiles in the first-level cache: (chunk, 16) for a quantity per step and channel, (d_state, 16) per
state and channel. ``B`` points to B_1 in a tile (chunk, columns) that holds B_t and then C_t, d_state numbers
each, in every row. ``STATES`` states advance together as one vector, the rest one by one. The kernels run
with denormal numbers flushed to zero (``threads.py``); otherwise states that decay away would cost 20 times
as much as others.
"""

from __future__ import annotations

from numba import njit

from swin_umamba.ops.native.math import (
    canonical_nan,
    exp2,
    exp_of_minus_magnitude,
    scaled_for_exp2,
    sigmoid,
    softplus,
)
from swin_umamba.ops.native.state_vector import (
    STATES,
    add_products,
    broadcast_like,
    load_like,
    one_state,
    repeat_like,
    several_states,
)
from swin_umamba.ops.native.vector import LANES, fma, load, pointer, store

# Saved states cost 4 * d_state / CHUNK activations of memory. The dozen tiles of a chunk must fit into a
# first-level cache of 32 KiB: those of 64 steps do not, and are slower.
CHUNK = 32


@njit(nogil=True)
def chunk_count(length):  # type: ignore[no-untyped-def]
    """Return the number of chunks in a sequence; the last may be shorter."""
    return (length + CHUNK - 1) // CHUNK


@njit(nogil=True)
def _compute_powers(steps, delta, powers):  # type: ignore[no-untyped-def]
    for t in range(0, steps * LANES, STATES * LANES):
        x = canonical_nan(load_like(several_states(), delta, t))
        store(delta, t, x)
        store(powers, t, exp_of_minus_magnitude(x))


@njit(nogil=True)
def apply_softplus(steps, delta, u, delta_u):  # type: ignore[no-untyped-def]
    """Turn ``delta`` into softplus(delta) and compute delta * u, four steps at a time."""
    like = several_states()
    _compute_powers(steps, delta, delta_u)
    for t in range(0, steps * LANES, STATES * LANES):
        step_size = softplus(load_like(like, delta, t), load_like(like, delta_u, t))
        store(delta, t, step_size)
        store(delta_u, t, step_size * load_like(like, u, t))


@njit(nogil=True)
def apply_softplus_with_slope(steps, delta, u, delta_u, slope):  # type: ignore[no-untyped-def]
    """Do as ``apply_softplus``, and compute the derivative of softplus at ``delta``."""
    like = several_states()
    _compute_powers(steps, delta, delta_u)
    for t in range(0, steps * LANES, STATES * LANES):
        store(slope, t, sigmoid(load_like(like, delta, t), load_like(like, delta_u, t)))
    for t in range(0, steps * LANES, STATES * LANES):
        step_size = softplus(load_like(like, delta, t), load_like(like, delta_u, t))
        store(delta, t, step_size)
        store(delta_u, t, step_size * load_like(like, u, t))


@njit(nogil=True)
def start_output(steps, skip, u):  # type: ignore[no-untyped-def]
    """Turn the input into the first term of the output, the input times the skip weight D."""
    for t in range(steps):
        store(u, t * LANES, skip * load(u, t * LANES))


@njit(nogil=True)
def _scan_states(steps, columns, delta, delta_u, rate, state, B, C, y):  # type: ignore[no-untyped-def]
    """Advance one vector of states."""
    for t in range(steps):
        row, weights = t * LANES, t * columns
        decay = exp2(repeat_like(rate, load(delta, row)) * rate)
        increment = repeat_like(state, load(delta_u, row)) * broadcast_like(state, B, weights)
        state = fma(decay, state, increment)
        store(y, row, add_products(state, broadcast_like(state, C, weights), load(y, row)))
    return state


@njit(nogil=True)
def scan_chunk(steps, d_state, columns, delta, delta_u, A, B, h, y):  # type: ignore[no-untyped-def]
    """Advance ``h`` by ``steps`` and add the outputs to ``y``."""
    C, one, several = pointer(B, d_state), one_state(), several_states()
    together = d_state - d_state % STATES
    for n in range(0, together, STATES):
        rate, state = scaled_for_exp2(load_like(several, A, n * LANES)), load_like(several, h, n * LANES)
        state = _scan_states(steps, columns, delta, delta_u, rate, state, pointer(B, n), pointer(C, n), y)
        store(h, n * LANES, state)
    for n in range(together, d_state):
        rate, state = scaled_for_exp2(load_like(one, A, n * LANES)), load_like(one, h, n * LANES)
        state = _scan_states(steps, columns, delta, delta_u, rate, state, pointer(B, n), pointer(C, n), y)
        store(h, n * LANES, state)
