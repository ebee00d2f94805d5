"""The adjoint of the recurrence in ``chunk.py``, over the same chunks and blocks of channels.

With g_t = dL/dh_t and dL/dy_t given, it runs backwards in time::

    g_t = C_t dL/dy_t + a_{t+1} g_{t+1}
    dL/dC_t = sum over channels of dL/dy_t h_t          dL/dB_t = sum over channels of g_t (delta_t u_t)
    dL/d(delta_t u_t) = sum over states of g_t B_t      dL/dA = sum over t of delta_t a_t g_t h_{t-1}
    dL/d(delta_t), through a_t only, = sum over states of A a_t g_t h_{t-1}

The forward pass keeps the state before each chunk only; those within are computed again, and their a_t kept
for the way back. Then, with delta = softplus(v) or v itself, s its derivative and D the skip weight::

    dL/du = delta dL/d(delta u) + D dL/dy               dL/dD = sum over t of dL/dy u
    dL/dv = s (dL/d(delta) + u dL/d(delta u))           dL/d(bias) = sum over t of dL/dv

Sums over time are summed up per chunk first: they stay exact over long sequences.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from swin_umamba.ops.native.chunk import CHUNK
from swin_umamba.ops.native.math import exp2, scaled_for_exp2
from swin_umamba.ops.native.vector import (
    LANES,
    broadcast,
    clear,
    fma,
    load,
    row_products,
    splat,
    store,
    zeros_aligned,
)

# These functions are merged into their caller: to pass eleven tiles along costs more than a short loop. Numba
# leaves the choice to LLVM, which decides the other way.
_inlined = njit(nogil=True, forceinline=True)

# Where the second of two states begins in a tile; one row more than a chunk, for the state before it.
_SECOND = (CHUNK + 1) * LANES


class Tiles(NamedTuple):
    """What the backward knows of a chunk and a block: (chunk, 16) each, the last three for two states."""

    u: np.ndarray
    delta: np.ndarray
    delta_u: np.ndarray
    slope: np.ndarray  # of softplus
    grad_y: np.ndarray
    grad_delta: np.ndarray
    grad_delta_u: np.ndarray
    grad_u: np.ndarray
    decays: np.ndarray
    h: np.ndarray
    grad_h: np.ndarray


@njit(nogil=True)
def new_tiles():  # type: ignore[no-untyped-def]
    """Tiles of zeros."""
    size = CHUNK * LANES
    return Tiles(
        zeros_aligned(size), zeros_aligned(size), zeros_aligned(size), zeros_aligned(size),
        zeros_aligned(size), zeros_aligned(size), zeros_aligned(size), zeros_aligned(size),
        zeros_aligned(2 * _SECOND), zeros_aligned(2 * _SECOND), zeros_aligned(2 * _SECOND),
    )  # fmt: skip


@_inlined
def _recompute_states(  # type: ignore[no-untyped-def]
    steps, n, m, tiles, A, rows, B_column, h_first
):
    """Fill ``decays`` with a_t, and ``h`` with the state before the chunk and after each step."""
    decays, h, columns = tiles.decays, tiles.h, rows.shape[1]
    paired = m > n
    rate_n, state_n = scaled_for_exp2(load(A, n * LANES)), load(h_first, n * LANES)
    rate_m, state_m = scaled_for_exp2(load(A, m * LANES)), load(h_first, m * LANES)
    store(h, 0, state_n)
    store(h, _SECOND, state_m)
    for t in range(steps):
        row, B = t * LANES, t * columns + B_column
        step_size, product = load(tiles.delta, row), load(tiles.delta_u, row)
        decay_n = exp2(step_size * rate_n)
        state_n = fma(decay_n, state_n, product * broadcast(rows, B + n))
        store(decays, row, decay_n)
        store(h, row + LANES, state_n)
        if paired:
            decay_m = exp2(step_size * rate_m)
            state_m = fma(decay_m, state_m, product * broadcast(rows, B + m))
            store(decays, _SECOND + row, decay_m)
            store(h, _SECOND + row + LANES, state_m)


@_inlined
def _run_adjoint(steps, n, m, tiles, A, rows, B_column, carry, grad_A):  # type: ignore[no-untyped-def]
    """Run through the chunk backwards: fill ``grad_h``, add to the gradients of A, delta and delta * u."""
    decays, h, grad_h, columns, d_state = tiles.decays, tiles.h, tiles.grad_h, rows.shape[1], carry.shape[0]
    paired = m > n
    rate_n, carried_n = load(A, n * LANES), load(carry, n * LANES)
    rate_m, carried_m = load(A, m * LANES), load(carry, m * LANES)
    total_n = total_m = splat(np.float32(0.0))
    for t in range(steps - 1, -1, -1):
        row, B = t * LANES, t * columns + B_column
        C = B + d_state
        grad_output, step_size = load(tiles.grad_y, row), load(tiles.delta, row)
        grad_n = fma(grad_output, broadcast(rows, C + n), carried_n)
        carried_n = load(decays, row) * grad_n
        exponent_n = carried_n * load(h, row)
        total_n = fma(step_size, exponent_n, total_n)
        grad_delta = fma(rate_n, exponent_n, load(tiles.grad_delta, row))
        grad_delta_u = fma(grad_n, broadcast(rows, B + n), load(tiles.grad_delta_u, row))
        store(grad_h, row, grad_n)
        if paired:
            grad_m = fma(grad_output, broadcast(rows, C + m), carried_m)
            carried_m = load(decays, _SECOND + row) * grad_m
            exponent_m = carried_m * load(h, _SECOND + row)
            total_m = fma(step_size, exponent_m, total_m)
            grad_delta = fma(rate_m, exponent_m, grad_delta)
            grad_delta_u = fma(grad_m, broadcast(rows, B + m), grad_delta_u)
            store(grad_h, _SECOND + row, grad_m)
        store(tiles.grad_delta, row, grad_delta)
        store(tiles.grad_delta_u, row, grad_delta_u)
    store(carry, n * LANES, carried_n)
    store(grad_A, n * LANES, load(grad_A, n * LANES) + total_n)
    if paired:
        store(carry, m * LANES, carried_m)
        store(grad_A, m * LANES, load(grad_A, m * LANES) + total_m)


@_inlined
def _add_channel_sums(steps, n, first, tiles, grad_B, grad_C):  # type: ignore[no-untyped-def]
    """Add the sums over the channels to the gradients of B and C of state ``n``."""
    for t in range(0, steps, LANES):
        position, row = n * CHUNK + t, t * LANES
        sums = row_products(tiles.grad_h, first + row, tiles.delta_u, row)
        store(grad_B, position, load(grad_B, position) + sums)
        sums = row_products(tiles.h, first + row + LANES, tiles.grad_y, row)
        store(grad_C, position, load(grad_C, position) + sums)


@_inlined
def scan_chunk_backward(  # type: ignore[no-untyped-def]
    steps, tiles, A, rows, B_column, h_first, carry, grad_A, grad_B, grad_C
):
    """Fill the gradients of delta and delta * u; add to those of A (d_state, 16), B and C (d_state, chunk).

    ``carry`` (d_state, 16) is a_{t+1} g_{t+1} of the step after the chunk, and becomes that of its first
    step. What the sums hold for the steps after the last is of no meaning.
    """
    d_state = carry.shape[0]
    clear(tiles.grad_delta)
    clear(tiles.grad_delta_u)
    for n in range(0, d_state, 2):
        m = min(n + 1, d_state - 1)
        _recompute_states(steps, n, m, tiles, A, rows, B_column, h_first)
        _run_adjoint(steps, n, m, tiles, A, rows, B_column, carry, grad_A)
        _add_channel_sums(steps, n, 0, tiles, grad_B, grad_C)
        if m > n:
            _add_channel_sums(steps, m, _SECOND, tiles, grad_B, grad_C)


@_inlined
def input_gradients(steps, tiles, skip, grad_D, grad_bias):  # type: ignore[no-untyped-def]
    """Fill ``grad_u``, turn ``grad_delta`` into the gradient before softplus, add to those of D and bias."""
    D_total = bias_total = splat(np.float32(0.0))
    for t in range(steps):
        row = t * LANES
        grad_output, grad_product = load(tiles.grad_y, row), load(tiles.grad_delta_u, row)
        u = load(tiles.u, row)
        store(tiles.grad_u, row, fma(grad_product, load(tiles.delta, row), skip * grad_output))
        grad_projected = fma(grad_product, u, load(tiles.grad_delta, row)) * load(tiles.slope, row)
        store(tiles.grad_delta, row, grad_projected)
        D_total = fma(grad_output, u, D_total)
        bias_total = bias_total + grad_projected
    store(grad_D, 0, load(grad_D, 0) + D_total)
    store(grad_bias, 0, load(grad_bias, 0) + bias_total)
