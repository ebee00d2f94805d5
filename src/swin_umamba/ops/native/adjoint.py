"""The adjoint of the recurrence in ``chunk.py``, over the same chunks and blocks of channels.

With g_t = dL/dh_t and dL/dy_t given, it runs backwards in time::

    g_t = C_t dL/dy_t + a_{t+1} g_{t+1}
    dL/dC_t = sum over channels of dL/dy_t h_t          dL/dB_t = sum over channels of g_t (delta_t u_t)
    dL/d(delta_t u_t) = sum over states of g_t B_t      dL/dA = sum over t of delta_t a_t g_t h_{t-1}
    dL/d(delta_t), through a_t only, = sum over states of A a_t g_t h_{t-1}

The forward pass keeps only the state before each chunk; those within are recomputed, and their a_t kept for
the way back. Then, with delta = softplus(v) or v itself, s its derivative and D the skip weight::

    dL/du = delta dL/d(delta u) + D dL/dy               dL/dD = sum over t of dL/dy u
    dL/dv = s (dL/d(delta) + u dL/d(delta u))           dL/d(bias) = sum over t of dL/dv

Sums over time are taken per chunk first, so they stay accurate over long sequences.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from swin_umamba.ops.native.chunk import CHUNK
from swin_umamba.ops.native.math import exp2, scaled_for_exp2
from swin_umamba.ops.native.state_vector import (
    STATES,
    add_products,
    broadcast_like,
    lanes_of,
    load_like,
    one_state,
    repeat_like,
    row_products,
    several_states,
)
from swin_umamba.ops.native.vector import LANES, clear, fma, load, pointer, splat, store

# These functions are inlined: passing ten tiles along costs more than a short loop. Numba leaves the choice
# to LLVM, which decides otherwise.
_inlined = njit(nogil=True, forceinline=True)

_TILE = CHUNK * LANES
TILES_SIZE = (5 + STATES) * _TILE + STATES * (_TILE + LANES)  # h begins with the state before the chunk


class Tiles(NamedTuple):
    """Pointers to the backward's data on a chunk and a block: (chunk, 16) unless stated otherwise."""

    u: Any  # becomes its gradient
    grad_y: Any
    delta: Any
    delta_u: Any
    slope: Any  # of softplus
    grad_delta: Any
    grad_delta_u: Any
    decays: Any  # (chunk, states, 16), become the gradient of the states
    h: Any  # (chunk + 1, states, 16)


@_inlined
def new_tiles(memory, u, grad_y):  # type: ignore[no-untyped-def]
    """Return tiles in an array of ``TILES_SIZE`` numbers, beside those of input and output gradient."""
    return Tiles(
        u, grad_y, pointer(memory, 0), pointer(memory, _TILE), pointer(memory, 2 * _TILE),
        pointer(memory, 3 * _TILE), pointer(memory, 4 * _TILE), pointer(memory, 5 * _TILE),
        pointer(memory, (5 + STATES) * _TILE),
    )  # fmt: skip


@_inlined
def _recompute_states(steps, columns, tiles, rate, state, B):  # type: ignore[no-untyped-def]
    """Fill ``decays`` with a_t, and ``h`` with the state before the chunk and after each step."""
    size = lanes_of(state)
    store(tiles.h, 0, state)
    for t in range(steps):
        step_size, product = load(tiles.delta, t * LANES), load(tiles.delta_u, t * LANES)
        decay = exp2(repeat_like(rate, step_size) * rate)
        state = fma(decay, state, repeat_like(state, product) * broadcast_like(state, B, t * columns))
        store(tiles.decays, t * size, decay)
        store(tiles.h, (t + 1) * size, state)


@_inlined
def _run_adjoint(steps, columns, tiles, rate, carried, B, C):  # type: ignore[no-untyped-def]
    """Run backwards through the chunk: turn ``decays`` into g_t, add to the gradients of delta and delta * u.

    Returns a_t g_t of the first step and the gradient of A.
    """
    size, total = lanes_of(rate), repeat_like(rate, splat(np.float32(0.0)))
    for t in range(steps - 1, -1, -1):
        row, weights = t * LANES, t * columns
        grad = fma(repeat_like(rate, load(tiles.grad_y, row)), broadcast_like(rate, C, weights), carried)
        carried = load_like(rate, tiles.decays, t * size) * grad
        exponent = carried * load_like(rate, tiles.h, t * size)
        total = fma(repeat_like(rate, load(tiles.delta, row)), exponent, total)
        store(tiles.grad_delta, row, add_products(rate, exponent, load(tiles.grad_delta, row)))
        grad_product = add_products(grad, broadcast_like(rate, B, weights), load(tiles.grad_delta_u, row))
        store(tiles.grad_delta_u, row, grad_product)
        store(tiles.decays, t * size, grad)
    return carried, total


@_inlined
def _add_channel_sums(steps, half, size, first, tiles, grad_B, grad_C):  # type: ignore[no-untyped-def]
    """Add the sums over the channels to the gradients of B and C of one state."""
    for t in range(0, steps, LANES):
        position, row = t // LANES * half, t * size + first
        sums = row_products(tiles.decays, row, size, tiles.delta_u, t * LANES)
        store(grad_B, position, load(grad_B, position) + sums)
        sums = row_products(tiles.h, row + size, size, tiles.grad_y, t * LANES)
        store(grad_C, position, load(grad_C, position) + sums)


@_inlined
def _scan_states_backward(  # type: ignore[no-untyped-def]
    like, steps, n, d_state, columns, tiles, A, B, h_first, carry, grad_A, grad_B, grad_C, sum_row, half
):
    """Return the adjoint of the states from ``n`` on that fill a vector as long as ``like``."""
    first, B_n = n * LANES, pointer(B, n)
    rate = load_like(like, A, first)
    _recompute_states(steps, columns, tiles, scaled_for_exp2(rate), load_like(like, h_first, first), B_n)
    carried = load_like(like, carry, first)
    carried, total = _run_adjoint(steps, columns, tiles, rate, carried, B_n, pointer(B_n, d_state))
    store(carry, first, carried)
    store(grad_A, first, load_like(like, grad_A, first) + total)
    for i in range(lanes_of(like) // LANES):
        sums = (n + i) * sum_row
        _add_channel_sums(
            steps, half, lanes_of(like), i * LANES, tiles, pointer(grad_B, sums), pointer(grad_C, sums)
        )


@_inlined
def scan_chunk_backward(  # type: ignore[no-untyped-def]
    steps, d_state, columns, tiles, A, B, h_first, carry, grad_A, grad_B, grad_C, sum_row, half
):
    """Fill the gradients of delta and delta * u; add to those of A (d_state, 16), B and C.

    Those of B and C have ``sum_row`` numbers from state to state, and 16 steps in each half of the chunk,
    ``half`` numbers apart.

    ``carry`` (d_state, 16) is a_{t+1} g_{t+1} of the step after the chunk, and becomes that of its first
    step. The sums for steps after the last are meaningless.
    """
    clear(tiles.grad_delta, _TILE)
    clear(tiles.grad_delta_u, _TILE)
    together = d_state - d_state % STATES
    for n in range(0, together, STATES):
        _scan_states_backward(
            several_states(), steps, n, d_state, columns, tiles, A, B, h_first, carry, grad_A, grad_B, grad_C,
            sum_row, half,
        )  # fmt: skip
    for n in range(together, d_state):
        _scan_states_backward(
            one_state(), steps, n, d_state, columns, tiles, A, B, h_first, carry, grad_A, grad_B, grad_C,
            sum_row, half,
        )  # fmt: skip


@_inlined
def input_gradients(steps, tiles, skip, grad_D, grad_bias):  # type: ignore[no-untyped-def]
    """Turn ``u`` into its gradient, ``grad_delta`` into that before softplus; add to D's and the bias's."""
    D_total = bias_total = splat(np.float32(0.0))
    for t in range(steps):
        row = t * LANES
        grad_output, grad_product = load(tiles.grad_y, row), load(tiles.grad_delta_u, row)
        u = load(tiles.u, row)
        store(tiles.u, row, fma(grad_product, load(tiles.delta, row), skip * grad_output))
        grad_projected = fma(grad_product, u, load(tiles.grad_delta, row)) * load(tiles.slope, row)
        store(tiles.grad_delta, row, grad_projected)
        D_total = fma(grad_output, u, D_total)
        bias_total = bias_total + grad_projected
    store(grad_D, 0, load(grad_D, 0) + D_total)
    store(grad_bias, 0, load(grad_bias, 0) + bias_total)
