"""Shared helpers of both kernels of the 2D scan: the order of pixels, tiles, and parameters of a chunk.

A direction is just an order in which the pixels of the image are visited: 0 is row-major, 1 is column-major,
2 and 3 are 0 and 1 backwards in time. So each step has the address of its pixel, and no permuted copy of
anything exists.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from swin_umamba.ops.native.chunk import CHUNK
from swin_umamba.ops.native.vector import (
    LANES,
    broadcast,
    clear,
    fma,
    load,
    pointer,
    prefetch,
    store,
    zeros_aligned,
)


@njit(nogil=True)
def visit_pixels(direction, first_step, steps, height, width, pixels):  # type: ignore[no-untyped-def]
    """Compute the flat row-major index of the pixel of each step of a chunk."""
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
                rows[t * columns + column] = x_dbl[batch, pixels[t], direction, column]
        return
    for t in range(steps):
        source = ((batch * length + pixels[t]) * directions + direction) * columns
        for column in range(0, columns - LANES, LANES):
            store(rows, t * columns + column, load(x_dbl, source + column))
        # The last vector ends with the row and may overlap the previous one.
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
def prefetch_channels(batch, pixels, first, last, channel, channels, image):  # type: ignore[no-untyped-def]
    """Bring what ``gather_channels`` will read at some of the steps into the cache."""
    length, d_inner = image.shape[1:]
    for t in range(first, last):
        source = (batch * length + pixels[t]) * d_inner + channel
        for i in range(0, channels, LANES):
            prefetch(image, source + i)


class Parameters(NamedTuple):
    """Parameters of one direction, or their gradients.

    Arrays (blocks, numbers per channel, 16), or pointers to the part of one block.
    """

    dt_projs_weight: Any
    dt_projs_bias: Any
    A: Any
    D: Any


@njit(nogil=True)
def parameters_of_block(block, dt_rank, d_state, weights, biases, rates, skips):  # type: ignore[no-untyped-def]
    """Return pointers to the part of each parameter that belongs to one block."""
    return Parameters(
        pointer(weights, block * dt_rank * LANES),
        pointer(biases, block * LANES),
        pointer(rates, block * d_state * LANES),
        pointer(skips, block * LANES),
    )


@njit(nogil=True)
def new_channel_values(blocks, numbers):  # type: ignore[no-untyped-def]
    """Return zeros, (blocks, numbers, 16)."""
    return zeros_aligned(blocks * numbers * LANES).reshape(blocks, numbers, LANES)


@njit(nogil=True)
def new_parameters(blocks, dt_rank, d_state):  # type: ignore[no-untyped-def]
    """Return zeros for each parameter."""
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
def states_offset(batch, direction, chunk, block, states):  # type: ignore[no-untyped-def]
    """Return where the states of a chunk and a block begin in (batch, 4, chunks, blocks, d_state, 16)."""
    directions, chunks, blocks, d_state = states.shape[1:5]
    return (((batch * directions + direction) * chunks + chunk) * blocks + block) * d_state * LANES


@njit(nogil=True)
def prefetch_states(batch, direction, chunk, block, states):  # type: ignore[no-untyped-def]
    """Bring the states of a chunk and a block into the cache."""
    first = states_offset(batch, direction, chunk, block, states)
    for n in range(states.shape[4]):
        prefetch(states, first + n * LANES)


@njit(nogil=True)
def project_dt(steps, dt_rank, columns, rows, weight, bias, delta):  # type: ignore[no-untyped-def]
    """Return delta before softplus, (steps, 16): the low-rank dt times the weight (dt_rank, 16), plus bias.

    Four steps share each load of a weight and hide each other's latency. The chunk length is a multiple of
    four, and the results for steps after the last are never read.
    """
    for t in range(0, steps, 4):
        row_0 = t * columns
        row_1, row_2, row_3 = row_0 + columns, row_0 + 2 * columns, row_0 + 3 * columns
        total_0 = total_1 = total_2 = total_3 = load(bias, 0)
        for r in range(dt_rank):
            factors = load(weight, r * LANES)
            total_0 = fma(broadcast(rows, row_0 + r), factors, total_0)
            total_1 = fma(broadcast(rows, row_1 + r), factors, total_1)
            total_2 = fma(broadcast(rows, row_2 + r), factors, total_2)
            total_3 = fma(broadcast(rows, row_3 + r), factors, total_3)
        store(delta, t * LANES, total_0)
        store(delta, (t + 1) * LANES, total_1)
        store(delta, (t + 2) * LANES, total_2)
        store(delta, (t + 3) * LANES, total_3)


@njit(nogil=True)
def gather_channels(batch, pixels, steps, channel, channels, image, tiles):  # type: ignore[no-untyped-def]
    """Copy ``channels`` channels of a chunk's pixels from a channels-last image into (blocks, chunk, 16).

    All blocks at once: the pixels may be far apart, but the channels of a pixel are neighbours. Lanes past
    the last channel become 0: the sums over channels must not include what was there before.
    """
    length, d_inner = image.shape[1:]
    whole = channels - channels % LANES
    for t in range(steps):
        source = (batch * length + pixels[t]) * d_inner + channel
        for i in range(0, whole, LANES):
            store(tiles, i * CHUNK + t * LANES, load(image, source + i))
    if whole < channels:
        last = pointer(tiles, whole * CHUNK)
        clear(last, steps * LANES)
        for t in range(steps):
            for lane in range(channels - whole):
                last[t * LANES + lane] = image[batch, pixels[t], channel + whole + lane]


@njit(nogil=True)
def scatter_channels(  # type: ignore[no-untyped-def]
    batch, pixels, steps, channel, channels, tiles, image, accumulate
):
    """Write the tiles (blocks, chunk, 16) to their pixels, or add them to what is there."""
    length, d_inner = image.shape[1:]
    whole = channels - channels % LANES
    for t in range(steps):
        target = (batch * length + pixels[t]) * d_inner + channel
        for i in range(0, whole, LANES):
            total = load(tiles, i * CHUNK + t * LANES)
            if accumulate:
                total = load(image, target + i) + total
            store(image, target + i, total)
    last = pointer(tiles, whole * CHUNK)
    for t in range(steps):
        for lane in range(channels - whole):
            total_lane = last[t * LANES + lane]
            if accumulate:
                total_lane += image[batch, pixels[t], channel + whole + lane]
            image[batch, pixels[t], channel + whole + lane] = total_lane


@njit(nogil=True)
def new_pixels():  # type: ignore[no-untyped-def]
    """Return room for the pixel indices of a chunk."""
    return np.empty(CHUNK, dtype=np.int64)
