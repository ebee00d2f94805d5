"""What the forward and the backward kernel of the 2D scan share: pixel order, tiles and parameters of a
chunk.

A direction is an order in which the pixels of the image are visited, and nothing else: 0 is row-major, 1 is
column-major, 2 and 3 are 0 and 1 backwards in time. So each step has the address of its pixel, and no
permuted copy of anything exists.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from swin_umamba.ops.native.chunk import CHUNK
from swin_umamba.ops.native.math import sigmoid, softplus
from swin_umamba.ops.native.vector import LANES, fma, load, load_lanes, splat, store


@njit(nogil=True)
def visit_pixels(direction, first_step, steps, height, width, pixels):  # type: ignore[no-untyped-def]
    """Flat row-major index of the pixel of each step of a chunk."""
    for t in range(steps):
        position = first_step + t
        if direction >= 2:
            position = height * width - 1 - position
        if direction % 2 == 1:
            position = (position % height) * width + position // height
        pixels[t] = position


@njit(nogil=True)
def gather_projections(batch, direction, pixels, steps, x_dbl, dt_low, B, C):  # type: ignore[no-untyped-def]
    """Copy one direction's low-rank dt (steps, dt_rank), B and C (d_state, steps) out of ``x_dbl``."""
    dt_rank, d_state = dt_low.shape[1], B.shape[0]
    for t in range(steps):
        row = x_dbl[batch, pixels[t], direction]
        for r in range(dt_rank):
            dt_low[t, r] = row[r]
        for n in range(d_state):
            B[n, t] = row[dt_rank + n]
            C[n, t] = row[dt_rank + d_state + n]


@njit(nogil=True)
def gather_parameters(  # type: ignore[no-untyped-def]
    direction, first_block, dt_projs_weight, dt_projs_bias, A, D, weight_tiles, bias_tiles, A_tiles, D_tiles
):
    """Copy one direction's parameters into blocks, channel last; lanes past the last channel stay 0."""
    d_inner, dt_rank = dt_projs_weight.shape[1:]
    for block in range(A_tiles.shape[0]):
        first = (first_block + block) * LANES
        for lane in range(min(LANES, d_inner - first)):
            channel = first + lane
            bias_tiles[block, lane] = dt_projs_bias[direction, channel]
            D_tiles[block, lane] = D[direction, channel]
            for n in range(A.shape[2]):
                A_tiles[block, n, lane] = A[direction, channel, n]
            for r in range(dt_rank):
                weight_tiles[block, r, lane] = dt_projs_weight[direction, channel, r]


@njit(nogil=True)
def project_dt(steps, dt_low, weight, bias, delta):  # type: ignore[no-untyped-def]
    """delta before softplus, (steps, 16): the low-rank dt times the weight (dt_rank, 16), plus the bias."""
    for t in range(steps):
        total = load(bias, 0)
        for r in range(dt_low.shape[1]):
            total = fma(splat(dt_low[t, r]), load(weight, r * LANES), total)
        store(delta, t * LANES, total)


@njit(nogil=True)
def gather_channels(batch, pixels, steps, channel, lanes, x, tile, scratch):  # type: ignore[no-untyped-def]
    """Copy ``lanes`` channels of a chunk's pixels out of a channels-last image into a tile (steps, 16)."""
    length, d_inner = x.shape[1:]
    for t in range(steps):
        offset = (batch * length + pixels[t]) * d_inner + channel
        store(tile, t * LANES, load_lanes(x, offset, lanes, scratch))


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
def chunk_count(length):  # type: ignore[no-untyped-def]
    """Number of chunks of a sequence, the last of which may be shorter."""
    return (length + CHUNK - 1) // CHUNK


@njit(nogil=True)
def new_pixels():  # type: ignore[no-untyped-def]
    """Room for the pixel indices of a chunk."""
    return np.empty(CHUNK, dtype=np.int64)
