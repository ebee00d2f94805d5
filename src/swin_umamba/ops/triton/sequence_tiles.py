"""Addresses in sequences (batch, dim, length)."""

from __future__ import annotations

import triton
import triton.language as tl

from swin_umamba.ops.triton.tiles import single_numbers


@triton.jit
def channels_of_group_block(blocks, group_size, CHANNELS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return the channels of this program, whose second index counts blocks of all groups, and their mask.

    A block never extends into the next group, so that all its channels use the same B and C.
    """
    group = tl.program_id(1) // blocks
    within = (tl.program_id(1) % blocks) * CHANNELS + single_numbers(CHANNELS)
    return group * group_size + within, within < group_size


@triton.jit
def steps_of_chunk(chunk, CHUNK: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return the numbers of the time steps of a chunk.

    They are consecutive in memory, but each thread has to read its own, through the cache.
    """
    return chunk * CHUNK + single_numbers(CHUNK)
