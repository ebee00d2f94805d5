"""What the forward and the backward kernel of the 2D scan share: pixel order, tiles and parameters of a
chunk.

A direction is an order in which the pixels of the image are visited, and nothing else: 0 is row-major, 1 is
column-major, 2 and 3 are 0 and 1 backwards in time. So each step has the address of its pixel, and no
permuted copy of anything exists.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from swin_umamba.ops.native.chunk import CHUNK
from swin_umamba.ops.native.vector import LANES, broadcast, fma, load, prefetch, store, zeros_aligned


@njit(nogil=True)
def visit_pixels(direction, first_step, steps, height, width, pixels):  # type: ignore[no-untyped-def]
    """Flat row-major index of the pixel of each step of a chunk."""
    position, move = first_step, 1
    if direction >= 2:
        position, move = height * width - 1 - first_step, -1
    if direction % 2 == 0:
        for t in range(steps):
            pixels[t] = position + move * t
        return
    row, column = position % height, position // height
    for t in range(steps):
        pixels[t] = row * width + column
        row += move
        if row == height:
            row, column = 0, column + 1
        elif row < 0:
            row, column = height - 1, column - 1


@njit(nogil=True)
def gather_rows(batch, direction, pixels, steps, x_dbl, rows):  # type: ignore[no-untyped-def]
    """Copy one direction's [low-rank dt | B | C] of a chunk's pixels into ``rows`` (steps, columns)."""
    length, directions, columns = x_dbl.shape[1:]
    if columns < LANES:
        for t in range(steps):
            for column in range(columns):
                rows[t, column] = x_dbl[batch, pixels[t], direction, column]
        return
    for t in range(steps):
        source = ((batch * length + pixels[t]) * directions + direction) * columns
        for column in range(0, columns - LANES, LANES):
            store(rows, t * columns + column, load(x_dbl, source + column))
        # The last vector ends with the row and may overlap the one before it.
        column = columns - LANES
        store(rows, t * columns + column, load(x_dbl, source + column))


@njit(nogil=True)
def prefetch_rows(batch, direction, pixels, steps, x_dbl):  # type: ignore[no-untyped-def]
    """Bring what ``gather_rows`` will read into the cache."""
    length, directions, columns = x_dbl.shape[1:]
    for t in range(steps):
        source = ((batch * length + pixels[t]) * directions + direction) * columns
        for column in range(0, columns, LANES):
            prefetch(x_dbl, source + column)


@njit(nogil=True)
def prefetch_channels(batch, pixels, steps, channel, image):  # type: ignore[no-untyped-def]
    """Bring what ``gather_channels`` will read into the cache."""
    length, d_inner = image.shape[1:]
    for t in range(steps):
        prefetch(image, (batch * length + pixels[t]) * d_inner + channel)


class Parameters(NamedTuple):
    """Parameters of one direction, or their gradients: (blocks, numbers per channel, 16) each."""

    dt_projs_weight: np.ndarray
    dt_projs_bias: np.ndarray
    A: np.ndarray
    D: np.ndarray


@njit(nogil=True)
def new_channel_values(blocks, numbers):  # type: ignore[no-untyped-def]
    """Zeros, (blocks, numbers, 16)."""
    return zeros_aligned(blocks * numbers * LANES).reshape(blocks, numbers, LANES)


@njit(nogil=True)
def new_parameters(blocks, dt_rank, d_state):  # type: ignore[no-untyped-def]
    """Zeros for each parameter."""
    return Parameters(
        new_channel_values(blocks, dt_rank),
        new_channel_values(blocks, 1),
        new_channel_values(blocks, d_state),
        new_channel_values(blocks, 1),
    )


@njit(nogil=True)
def gather_parameters(  # type: ignore[no-untyped-def]
    direction, first_block, dt_projs_weight, dt_projs_bias, A, D, tiles
):
    """Copy one direction's parameters into blocks, channel last; lanes past the last channel stay 0."""
    d_inner, dt_rank = dt_projs_weight.shape[1:]
    for block in range(tiles.A.shape[0]):
        first = (first_block + block) * LANES
        for lane in range(min(LANES, d_inner - first)):
            channel = first + lane
            tiles.dt_projs_bias[block, 0, lane] = dt_projs_bias[direction, channel]
            tiles.D[block, 0, lane] = D[direction, channel]
            for n in range(A.shape[2]):
                tiles.A[block, n, lane] = A[direction, channel, n]
            for r in range(dt_rank):
                tiles.dt_projs_weight[block, r, lane] = dt_projs_weight[direction, channel, r]


@njit(nogil=True)
def project_dt(steps, rows, weight, bias, delta):  # type: ignore[no-untyped-def]
    """delta before softplus, (steps, 16): the low-rank dt times the weight (dt_rank, 16), plus the bias.

    Four steps share each load of a weight, and hide each other's latency. The chunk length is a multiple of
    four, and nobody reads what comes out for the steps after the last.
    """
    columns = rows.shape[1]
    for t in range(0, steps, 4):
        total_0 = total_1 = total_2 = total_3 = load(bias, 0)
        for r in range(weight.shape[0]):
            factors = load(weight, r * LANES)
            total_0 = fma(broadcast(rows, t * columns + r), factors, total_0)
            total_1 = fma(broadcast(rows, (t + 1) * columns + r), factors, total_1)
            total_2 = fma(broadcast(rows, (t + 2) * columns + r), factors, total_2)
            total_3 = fma(broadcast(rows, (t + 3) * columns + r), factors, total_3)
        store(delta, t * LANES, total_0)
        store(delta, (t + 1) * LANES, total_1)
        store(delta, (t + 2) * LANES, total_2)
        store(delta, (t + 3) * LANES, total_3)


@njit(nogil=True)
def gather_channels(batch, pixels, steps, channel, lanes, image, tile):  # type: ignore[no-untyped-def]
    """Copy ``lanes`` channels of a chunk's pixels out of a channels-last image into a tile (steps, 16).

    The other lanes become 0: the sums over channels must not see what the tile held before.
    """
    length, d_inner = image.shape[1:]
    if lanes == LANES:
        for t in range(steps):
            store(tile, t * LANES, load(image, (batch * length + pixels[t]) * d_inner + channel))
    else:
        tile[: steps * LANES] = 0
        for t in range(steps):
            for lane in range(lanes):
                tile[t * LANES + lane] = image[batch, pixels[t], channel + lane]


@njit(nogil=True)
def scatter_channels(  # type: ignore[no-untyped-def]
    batch, pixels, steps, channel, lanes, tile, image, accumulate
):
    """The way back: write the tile to its pixels, or add it to what is there."""
    length, d_inner = image.shape[1:]
    if lanes == LANES:
        for t in range(steps):
            offset = (batch * length + pixels[t]) * d_inner + channel
            total = load(tile, t * LANES)
            if accumulate:
                total = load(image, offset) + total
            store(image, offset, total)
    else:
        for t in range(steps):
            for lane in range(lanes):
                total_lane = tile[t * LANES + lane]
                if accumulate:
                    total_lane += image[batch, pixels[t], channel + lane]
                image[batch, pixels[t], channel + lane] = total_lane


@njit(nogil=True)
def new_pixels():  # type: ignore[no-untyped-def]
    """Room for the pixel indices of a chunk."""
    return np.empty(CHUNK, dtype=np.int64)
