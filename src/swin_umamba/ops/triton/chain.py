"""The states that enter the chunks, from what each chunk adds: the only pass that is sequential in time.

Over a whole chunk a state is multiplied by exp(A * sum of delta) and what the chunk adds, ``end``, is added::

    entering_{c+1} = exp(A_n sum_c) entering_c + end_c

A tile of 32 chunks is one scan, and tiles follow one another. With the sums of the adjoint, and c counted
back in time, the same recurrence yields the gradient of the state that leaves each chunk. The entering states
overwrite ``ends`` (batch, directions, chunks, d_state, channels).
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from swin_umamba.ops.triton.launch import SIZES, device_of
from swin_umamba.ops.triton.tiles import LOG2_E, exclusive_scan, load_tile, single_numbers

_CHUNKS = 32
_CHANNELS = 32


@triton.jit(do_not_specialize=SIZES)
def chain_kernel(  # type: ignore[no-untyped-def]
    ends, sums, A, first, last, d_inner, chunks,
    DIRECTIONS: tl.constexpr, D_STATE: tl.constexpr, CHUNKS: tl.constexpr, CHANNELS: tl.constexpr,
    ADJOINT: tl.constexpr, HAS_FIRST: tl.constexpr, HAS_LAST: tl.constexpr,
):  # fmt: skip
    """Chain a state of a channel block; ``first`` and ``last`` (batch, channels, d_state) are optional."""
    # 1. The state and channels of this program.
    n = tl.program_id(0) % D_STATE
    channels = (tl.program_id(0) // D_STATE) * CHANNELS + single_numbers(CHANNELS)
    mask = channels < d_inner
    sequence = tl.program_id(1).to(tl.int64)
    k = tl.program_id(1) % DIRECTIONS
    backwards = (k // 2 + ADJOINT) % 2
    rate = tl.load(A + (k * d_inner + channels) * D_STATE + n, mask=mask, other=0.0) * LOG2_E
    # 2. The state before the first chunk.
    carry = tl.full((CHANNELS,), 0.0, tl.float32)
    if HAS_FIRST:
        carry = tl.load(first + (sequence * d_inner + channels) * D_STATE + n, mask=mask, other=0.0)
    # 3. Tile by tile of chunks: scan their ends, replace them by what enters each chunk, pass on the carry.
    steps = tl.arange(0, CHUNKS)
    for begin in range(0, chunks, CHUNKS):
        order = begin + steps
        chunk = sequence * chunks + tl.where(backwards == 1, chunks - 1 - order, order)
        tile_mask = (order < chunks)[:, None] & mask[None, :]
        pointers = ends + ((chunk * D_STATE + n) * d_inner)[:, None] + channels[None, :]
        end = load_tile(pointers, tile_mask)
        total = load_tile(sums + (chunk * d_inner)[:, None] + channels[None, :], tile_mask)
        decay = tl.exp2(total * rate[None, :])
        decay_before, added_before = exclusive_scan(decay, end, False)
        entering = decay_before * carry[None, :] + added_before
        # Past the last chunk, decay is 1 and end 0: the carry just passes through.
        leaving = decay * entering + end
        carry = tl.sum(tl.where((steps == CHUNKS - 1)[:, None], leaving, 0.0), axis=0)
        tl.debug_barrier()  # all of the tile has been read before any of it is replaced
        tl.store(pointers, entering, mask=tile_mask)
    if HAS_LAST:
        tl.store(last + (sequence * d_inner + channels) * D_STATE + n, carry, mask=mask)


def chain(
    ends: Tensor,
    sums: Tensor,
    A: Tensor,
    *,
    adjoint: bool,
    first: Tensor | None = None,
    last: Tensor | None = None,
) -> None:
    """Overwrite ``ends`` with the states that enter the chunks.

    Parameters
    ----------
    ends
        Shape (batch, directions, chunks, d_state, channels).
    sums
        Sum of the step sizes of each chunk, shape (batch, directions, chunks, channels).
    A
        Shape (directions, channels, d_state) or (channels, d_state).
    adjoint
        Whether ``ends`` are gradients, which run back in time.
    first, last
        State before the first chunk, and room for the one after the last: (batch, channels, d_state), for one
        direction only.
    """
    batch, directions, chunks, d_state, channels = ends.shape
    grid = (d_state * triton.cdiv(channels, _CHANNELS), batch * directions)
    with device_of(ends):
        chain_kernel[grid](
            ends, sums, A, first, last, channels, chunks,
            DIRECTIONS=directions, D_STATE=d_state, CHUNKS=_CHUNKS, CHANNELS=_CHANNELS,
            ADJOINT=int(adjoint), HAS_FIRST=first is not None, HAS_LAST=last is not None, num_warps=1,
        )  # fmt: skip
