"""The recurrence of ``chunk.py`` and its adjoint, where each channel has one state.

Then the step sizes cost more than the states, and what is loaded and stored as much as what is computed. So

- softplus and decay are computed for four steps at a time, in short loops of their own: in one loop, the next
  steps would wait for the long chain of operations of these;
- they are in base 2: with w = v log2(e), s = log2(1 + 2^w) = delta log2(e) is softplus and a = 2^(s A) the
  decay. What is left of the factor is in B: delta u B = s u (B ln 2);
- there are no tiles of the image: the steps read and write it at their pixels;
- sums over channels add up 16 lanes for all blocks of channels of a work item before these are added up.

``weights`` (chunk, 2) has B_t ln 2 and C_t in each row.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from swin_umamba.ops.native.chunk import CHUNK
from swin_umamba.ops.native.math import (
    LOG2_E,
    canonical_nan,
    exp2,
    exp2_of_minus_magnitude,
    sigmoid,
    softplus_base_2,
)
from swin_umamba.ops.native.state_vector import STATES, load_like, repeat_like, row_sums, several_states
from swin_umamba.ops.native.vector import LANES, broadcast, fma, load, pointer, prefetch, splat, store

LN_2 = 1 / LOG2_E
TILE = CHUNK * LANES
_FOUR = STATES * LANES  # numbers of the steps that are computed at a time
TILES_SIZE = 6 * TILE + LANES


class SingleStateTiles(NamedTuple):
    """Pointers to what is kept of a chunk and a block: (chunk, 16) unless stated otherwise."""

    step: Any  # w, then s
    power: Any
    decay: Any
    slope: Any
    grad_projected: Any
    h: Any  # (1 + chunk, 16): first the state before the chunk


@njit(nogil=True)
def new_tiles(memory):  # type: ignore[no-untyped-def]
    """Return tiles in an array of ``TILES_SIZE`` numbers."""
    return SingleStateTiles(
        pointer(memory, 0), pointer(memory, TILE), pointer(memory, 2 * TILE), pointer(memory, 3 * TILE),
        pointer(memory, 4 * TILE), pointer(memory, 5 * TILE),
    )  # fmt: skip


@njit(nogil=True)
def _scale(values, factor):  # type: ignore[no-untyped-def]
    for i in range(0, values.size, LANES):
        store(values, i, load(values, i) * splat(np.float32(factor)))


@njit(nogil=True)
def scale_for_base_2(parameters):  # type: ignore[no-untyped-def]
    """Scale the projection so that it yields w = v log2(e)."""
    _scale(parameters.dt_projs_weight, LOG2_E)
    _scale(parameters.dt_projs_bias, LOG2_E)
    for i in range(0, parameters.A.size, LANES):
        store(parameters.A, i, canonical_nan(load(parameters.A, i)))


@njit(nogil=True)
def scale_input_weights(steps, columns, weights):  # type: ignore[no-untyped-def]
    """Turn B into B ln 2."""
    for t in range(steps):
        weights[t * columns] *= np.float32(LN_2)


@njit(nogil=True)
def scale_gradients(gradients):  # type: ignore[no-untyped-def]
    """Turn what ``run_adjoint`` adds up into the gradients of the parameters."""
    _scale(gradients.dt_projs_weight, LOG2_E)
    _scale(gradients.dt_projs_bias, LOG2_E)
    _scale(gradients.A, LN_2)


@njit(nogil=True)
def add_lane_sums(lane_sums, sums, sum_rows):  # type: ignore[no-untyped-def]
    """Fill the rows of B and C of the sums of a chunk, (2, sum rows, 16 steps)."""
    for half in range(2):
        position, first = half * sum_rows * LANES, half * TILE // 2
        store(sums, position, row_sums(lane_sums, first) * splat(np.float32(LN_2)))
        store(sums, position + LANES, row_sums(lane_sums, TILE + first))


@njit(nogil=True)
def compute_powers(steps, tiles):  # type: ignore[no-untyped-def]
    """Compute 2^-|w|."""
    like = several_states()
    for t in range(0, steps * LANES, _FOUR):
        store(tiles.power, t, exp2_of_minus_magnitude(load_like(like, tiles.step, t)))


@njit(nogil=True)
def compute_slopes(steps, tiles):  # type: ignore[no-untyped-def]
    """Compute the derivative of softplus from w and 2^-|w|."""
    like = several_states()
    for t in range(0, steps * LANES, _FOUR):
        slope = sigmoid(load_like(like, tiles.step, t), load_like(like, tiles.power, t))
        store(tiles.slope, t, slope)


@njit(nogil=True)
def compute_decays(steps, rate, tiles):  # type: ignore[no-untyped-def]
    """Turn w into s, with 2^-|w|, and compute the decay."""
    like = several_states()
    for t in range(0, steps * LANES, _FOUR):
        step = softplus_base_2(load_like(like, tiles.step, t), load_like(like, tiles.power, t))
        store(tiles.step, t, canonical_nan(step))
    for t in range(0, steps * LANES, _FOUR):
        store(tiles.decay, t, exp2(load_like(like, tiles.step, t) * repeat_like(like, rate)))


class ChunkPlaces(NamedTuple):
    """Where a chunk reads and writes the image: ``stride`` numbers from pixel to pixel."""

    pixels: Any
    next_pixels: Any  # of the chunk after this one, to be fetched
    stride: Any
    add: Any  # whether to add to what is written


@njit(nogil=True)
def scan_chunk(steps, columns, tiles, weights, skip, state, image, x, y):  # type: ignore[no-untyped-def]
    """Return the state after ``steps``, and write the outputs to the image ``y``."""
    for t in range(steps):
        place, row = image.pixels[t] * image.stride, t * columns
        u = load(x, place)
        delta_u = load(tiles.step, t * LANES) * u
        state = fma(load(tiles.decay, t * LANES), state, delta_u * broadcast(weights, row))
        output = fma(state, broadcast(weights, row + 1), skip * u)
        if image.add:
            output = load(y, place) + output
        store(y, place, output)
        next_place = image.next_pixels[t] * image.stride
        prefetch(x, next_place)
        prefetch(y, next_place)
    return state


@njit(nogil=True)
def recompute_states(steps, columns, tiles, weights, state, image, x):  # type: ignore[no-untyped-def]
    """Fill ``h``."""
    store(tiles.h, 0, state)
    for t in range(steps):
        delta_u = load(tiles.step, t * LANES) * load(x, image.pixels[t] * image.stride)
        state = fma(load(tiles.decay, t * LANES), state, delta_u * broadcast(weights, t * columns))
        store(tiles.h, (t + 1) * LANES, state)


@njit(nogil=True)
def run_adjoint(  # type: ignore[no-untyped-def]
    steps, columns, tiles, weights, rate, skip, carried, image, x, grad_y, grad_x, lane_sums
):
    """Run backwards through the chunk, as ``adjoint.py`` does, with g_t the gradient of the state.

    Fill ``grad_projected`` with the gradient of w, which is ln 2 times that of v; write that of the input to
    the image ``grad_x``. Add to ``lane_sums`` (2, chunk, 16), the terms of the gradients of B / ln 2 and C.
    Return a_t g_t of the first step and the gradients of A / ln 2, D and w.
    """
    rate_total = skip_total = bias_total = splat(np.float32(0.0))
    rate = rate * splat(np.float32(LN_2))
    for t in range(steps - 1, -1, -1):
        place, row, tile = image.pixels[t] * image.stride, t * columns, t * LANES
        u, grad_output, step = load(x, place), load(grad_y, place), load(tiles.step, tile)
        decay = load(tiles.decay, tile)
        # Only one fused multiply-add of each step waits for the step before.
        grad_state = grad_output * broadcast(weights, row + 1)
        before, grad_state = decay * grad_state, grad_state + carried
        carried = fma(decay, carried, before)
        exponent = carried * load(tiles.h, tile)
        rate_total = fma(step, exponent, rate_total)
        grad_product = grad_state * broadcast(weights, row)
        grad_u = fma(grad_product, step, skip * grad_output)
        if image.add:
            grad_u = load(grad_x, place) + grad_u
        store(grad_x, place, grad_u)
        grad_projected = fma(rate, exponent, grad_product * u) * load(tiles.slope, tile)
        store(tiles.grad_projected, tile, grad_projected)
        skip_total, bias_total = fma(grad_output, u, skip_total), bias_total + grad_projected
        store(lane_sums, tile, fma(grad_state, step * u, load(lane_sums, tile)))
        h = load(tiles.h, tile + LANES)
        store(lane_sums, TILE + tile, fma(h, grad_output, load(lane_sums, TILE + tile)))
        next_place = image.next_pixels[t] * image.stride
        prefetch(x, next_place)
        prefetch(grad_y, next_place)
        prefetch(grad_x, next_place)
    return carried, rate_total, skip_total, bias_total
