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
from swin_umamba.ops.native.projection import padded
from swin_umamba.ops.native.transpose import channels_first, channels_last, copy_numbers
from swin_umamba.ops.native.vector import (
    LANES,
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
    for t in range(steps):
        source = ((batch * length + pixels[t]) * directions + direction) * columns
        copy_numbers(pointer(x_dbl, source), pointer(rows, t * columns), columns)


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

    Arrays (blocks, numbers per channel, 16), or pointers to the part of one block. The weight has as many
    numbers as ``padded`` says, the last of them 0 or meaningless.
    """

    dt_projs_weight: Any
    dt_projs_bias: Any
    A: Any
    D: Any


@njit(nogil=True)
def parameters_of_block(block, dt_rank, d_state, parameters):  # type: ignore[no-untyped-def]
    """Return pointers to the part of each parameter that belongs to one block."""
    return Parameters(
        pointer(parameters.dt_projs_weight, block * padded(dt_rank) * LANES),
        pointer(parameters.dt_projs_bias, block * LANES),
        pointer(parameters.A, block * d_state * LANES),
        pointer(parameters.D, block * LANES),
    )


@njit(nogil=True)
def new_channel_values(blocks, numbers):  # type: ignore[no-untyped-def]
    """Return zeros, (blocks, numbers, 16)."""
    return zeros_aligned(blocks * numbers * LANES).reshape(blocks, numbers, LANES)


@njit(nogil=True)
def new_parameters(blocks, dt_rank, d_state):  # type: ignore[no-untyped-def]
    """Return zeros for each parameter."""
    return Parameters(
        new_channel_values(blocks, padded(dt_rank)),
        new_channel_values(blocks, 1),
        new_channel_values(blocks, d_state),
        new_channel_values(blocks, 1),
    )


@njit(nogil=True)
def gather_parameters(  # type: ignore[no-untyped-def]
    direction, first_block, dt_projs_weight, dt_projs_bias, A, D, tiles
):
    """Copy one direction's parameters into blocks, channel last."""
    d_inner, dt_rank = dt_projs_weight.shape[1:]
    d_state = A.shape[2]
    for block in range(tiles.A.shape[0]):
        first = direction * d_inner + (first_block + block) * LANES
        here = parameters_of_block(block, dt_rank, d_state, tiles)
        channels_last(pointer(dt_projs_weight, first * dt_rank), dt_rank, here.dt_projs_weight)
        channels_last(pointer(A, first * d_state), d_state, here.A)
        store(here.dt_projs_bias, 0, load(dt_projs_bias, first))
        store(here.D, 0, load(D, first))


@njit(nogil=True)
def scatter_gradients(  # type: ignore[no-untyped-def]
    batch, direction, first_block, tiles, grad_weights, grad_biases, grad_A, grad_D
):
    """Copy the gradients of the parameters to (batch, 4, d_inner, numbers per channel)."""
    d_inner, dt_rank = grad_weights.shape[2:]
    d_state = grad_A.shape[3]
    for block in range(tiles.A.shape[0]):
        first = (batch * 4 + direction) * d_inner + (first_block + block) * LANES
        here = parameters_of_block(block, dt_rank, d_state, tiles)
        channels_first(here.dt_projs_weight, dt_rank, pointer(grad_weights, first * dt_rank))
        channels_first(here.A, d_state, pointer(grad_A, first * d_state))
        store(grad_biases, first, load(here.dt_projs_bias, 0))
        store(grad_D, first, load(here.D, 0))


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
def gather_channels(batch, pixels, steps, channel, channels, image, tiles):  # type: ignore[no-untyped-def]
    """Copy ``channels`` channels of a chunk's pixels from a channels-last image into (blocks, chunk, 16).

    All blocks at once: the pixels may be far apart, but the channels of a pixel are neighbours.
    """
    length, d_inner = image.shape[1:]
    for t in range(steps):
        source = (batch * length + pixels[t]) * d_inner + channel
        for i in range(0, channels, LANES):
            store(tiles, i * CHUNK + t * LANES, load(image, source + i))


@njit(nogil=True)
def scatter_channels(  # type: ignore[no-untyped-def]
    batch, pixels, steps, channel, channels, tiles, image, accumulate
):
    """Write the tiles (blocks, chunk, 16) to their pixels, or add them to what is there."""
    length, d_inner = image.shape[1:]
    for t in range(steps):
        target = (batch * length + pixels[t]) * d_inner + channel
        for i in range(0, channels, LANES):
            total = load(tiles, i * CHUNK + t * LANES)
            if accumulate:
                total = load(image, target + i) + total
            store(image, target + i, total)


@njit(nogil=True)
def new_pixels():  # type: ignore[no-untyped-def]
    """Return room for the pixel indices of a chunk."""
    return np.empty(CHUNK, dtype=np.int64)


@njit(nogil=True)
def new_rows(columns):  # type: ignore[no-untyped-def]
    """Return room for the rows of a chunk; sums over groups of ranks read past the last."""
    return zeros_aligned(CHUNK * columns + LANES)
