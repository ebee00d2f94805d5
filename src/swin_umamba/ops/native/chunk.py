"""The recurrence and its adjoint over one chunk of time steps and one block of 16 channels.

For one channel and one state (u input, delta step size, A decay rate, B and C input and output weights, h
state)::

    h_t = a_t h_{t-1} + (delta_t u_t) B_t,     a_t = exp(delta_t A)
    y_t = sum over states of C_t h_t

With g_t = dL/dh_t and dL/dy_t given, the adjoint runs backwards in time::

    g_t = C_t dL/dy_t + a_{t+1} g_{t+1}
    dL/dC_t = sum over channels of dL/dy_t h_t          dL/dB_t = sum over channels of g_t (delta_t u_t)
    dL/d(delta_t u_t) = sum over states of g_t B_t      dL/dA = sum over t of delta_t a_t g_t h_{t-1}
    dL/d(delta_t), through a_t only, = sum over states of A a_t g_t h_{t-1}

The lanes of a vector are 16 channels, so that B_t and C_t are scalars to it. All arrays are tiles in the
first-level cache: (chunk, 16) for a quantity per step and channel, (d_state, 16) per state and channel.
``rows`` (chunk, columns) holds B_t in d_state columns from ``B_column`` on, and C_t in the next d_state. The
states of a chunk are not kept by the forward pass but computed again from the one it starts with. Sums over
time are summed up per chunk first: they stay exact over long sequences. The kernels run with denormal numbers
flushed to zero (``threads.py``), or states that die out would cost 20 times as much as those that live.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from swin_umamba.ops.native.math import exp2, scaled_for_exp2, sigmoid, softplus
from swin_umamba.ops.native.vector import LANES, fma, load, row_sums, splat, store

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
        step_size = softplus(load(delta, t * LANES))
        store(delta, t * LANES, step_size)
        store(delta_u, t * LANES, step_size * load(u, t * LANES))


@njit(nogil=True)
def compute_sigmoid(steps, delta, slope):  # type: ignore[no-untyped-def]
    """The derivative of softplus at ``delta``."""
    for t in range(steps):
        store(slope, t * LANES, sigmoid(load(delta, t * LANES)))


@njit(nogil=True)
def scan_chunk(steps, delta, delta_u, A, rows, B_column, h, y):  # type: ignore[no-untyped-def]
    """Advance ``h`` by ``steps`` and add the outputs to ``y``."""
    d_state = h.shape[0]
    for n in range(d_state):
        rate = scaled_for_exp2(load(A, n * LANES))
        state = load(h, n * LANES)
        for t in range(steps):
            decay = exp2(load(delta, t * LANES) * rate)
            state = fma(decay, state, load(delta_u, t * LANES) * splat(rows[t, B_column + n]))
            output = fma(state, splat(rows[t, B_column + d_state + n]), load(y, t * LANES))
            store(y, t * LANES, output)
        store(h, n * LANES, state)


@njit(nogil=True)
def scan_chunk_backward(  # type: ignore[no-untyped-def]
    steps, grad_y, delta, delta_u, A, rows, B_column, h_first,
    decays, h, products_B, products_C,
    carry, grad_delta, grad_delta_u, grad_A, grad_B, grad_C,
):  # fmt: skip
    """Run the adjoint through a chunk, adding to the gradients; those of B and C are (d_state, chunk).

    ``carry`` (d_state, 16) is a_{t+1} g_{t+1} of the step after the chunk, and becomes that of its first
    step. ``decays``, ``h``, ``products_B`` and ``products_C`` are scratch tiles.
    """
    d_state = carry.shape[0]
    zero = splat(np.float32(0.0))
    for n in range(d_state):
        B, C = B_column + n, B_column + d_state + n
        rate = scaled_for_exp2(load(A, n * LANES))
        state = load(h_first, n * LANES)
        for t in range(steps):
            row = t * LANES
            store(h, row, state)
            decay = exp2(load(delta, row) * rate)
            state = fma(decay, state, load(delta_u, row) * splat(rows[t, B]))
            store(decays, row, decay)
            store(products_C, row, load(grad_y, row) * state)

        rate = load(A, n * LANES)
        carried = load(carry, n * LANES)
        grad_rate = zero
        for t in range(steps - 1, -1, -1):
            row = t * LANES
            grad_state = fma(load(grad_y, row), splat(rows[t, C]), carried)
            carried = load(decays, row) * grad_state
            grad_exponent = carried * load(h, row)
            grad_rate = fma(load(delta, row), grad_exponent, grad_rate)
            store(grad_delta, row, fma(rate, grad_exponent, load(grad_delta, row)))
            store(grad_delta_u, row, fma(grad_state, splat(rows[t, B]), load(grad_delta_u, row)))
            store(products_B, row, grad_state * load(delta_u, row))
        store(carry, n * LANES, carried)
        store(grad_A, n * LANES, load(grad_A, n * LANES) + grad_rate)

        for t in range(0, steps, LANES):
            position = n * CHUNK + t
            store(grad_B, position, load(grad_B, position) + row_sums(products_B, t * LANES))
            store(grad_C, position, load(grad_C, position) + row_sums(products_C, t * LANES))


@njit(nogil=True)
def input_gradients(  # type: ignore[no-untyped-def]
    steps, u, delta, slope, grad_y, grad_delta, grad_delta_u, skip, grad_D, grad_bias, grad_u
):
    """Fill ``grad_u``, turn ``grad_delta`` into the gradient before softplus, add to those of D and bias."""
    D_total = bias_total = splat(np.float32(0.0))
    for t in range(steps):
        row = t * LANES
        grad_output, grad_product, activation = load(grad_y, row), load(grad_delta_u, row), load(u, row)
        store(grad_u, row, fma(grad_product, load(delta, row), skip * grad_output))
        grad_projected = fma(grad_product, activation, load(grad_delta, row)) * load(slope, row)
        store(grad_delta, row, grad_projected)
        D_total = fma(grad_output, activation, D_total)
        bias_total = bias_total + grad_projected
    store(grad_D, 0, load(grad_D, 0) + D_total)
    store(grad_bias, 0, load(grad_bias, 0) + bias_total)
