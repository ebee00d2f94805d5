"""Shared helpers of both kernels of the selective scan: tiles from channels-first sequences.

The tensors are (batch, dim, length) and (batch, groups, d_state, length), time last, whereas a vector in the
kernels is 16 channels of one step, so a chunk is transposed on its way into the cache.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from swin_umamba.ops.native.chunk import apply_softplus_with_slope
from swin_umamba.ops.native.math import canonical_nan
from swin_umamba.ops.native.vector import LANES, clear, load, splat, store


@njit(nogil=True)
def gather_sequence(batch, channel, lanes, first_step, steps, sequence, tile):  # type: ignore[no-untyped-def]
    """Copy ``lanes`` channels of a chunk into a tile (steps, 16)."""
    for lane in range(lanes):
        for t in range(steps):
            tile[t * LANES + lane] = sequence[batch, channel + lane, first_step + t]


@njit(nogil=True)
def scatter_sequence(batch, channel, lanes, first_step, steps, tile, sequence):  # type: ignore[no-untyped-def]
    """Write tiles back to their sequences."""
    for lane in range(lanes):
        for t in range(steps):
            sequence[batch, channel + lane, first_step + t] = tile[t * LANES + lane]


@njit(nogil=True)
def gather_weights(batch, group, first_step, steps, B, C, rows):  # type: ignore[no-untyped-def]
    """Copy B and C of a chunk into ``rows`` (steps, [B | C])."""
    d_state = B.shape[2]
    for n in range(d_state):
        for t in range(steps):
            rows[t * 2 * d_state + n] = B[batch, group, n, first_step + t]
            rows[(t * 2 + 1) * d_state + n] = C[batch, group, n, first_step + t]


@njit(nogil=True)
def gather_channel_values(channel, lanes, values, tile):  # type: ignore[no-untyped-def]
    """Copy ``values`` (dim, numbers) of some channels into a tile (numbers, 16); other lanes become 0."""
    clear(tile, values.shape[1] * LANES)
    for lane in range(lanes):
        for i in range(values.shape[1]):
            tile[i * LANES + lane] = values[channel + lane, i]


@njit(nogil=True)
def scatter_channel_values(batch, channel, lanes, tile, values):  # type: ignore[no-untyped-def]
    """Copy a tile (numbers, 16) into ``values`` (batch, dim, numbers)."""
    for lane in range(lanes):
        for i in range(values.shape[2]):
            values[batch, channel + lane, i] = tile[i * LANES + lane]


@njit(nogil=True)
def discretize(steps, delta, bias, with_softplus, u, delta_u, slope):  # type: ignore[no-untyped-def]
    """Turn ``delta`` into the step size; ``slope`` becomes its derivative and ``delta_u`` delta * u."""
    offset = load(bias, 0)
    for t in range(steps):
        store(delta, t * LANES, canonical_nan(load(delta, t * LANES) + offset))
    if with_softplus:
        apply_softplus_with_slope(steps, delta, u, delta_u, slope)
        return
    for t in range(steps):
        store(slope, t * LANES, splat(np.float32(1.0)))
        store(delta_u, t * LANES, load(delta, t * LANES) * load(u, t * LANES))
