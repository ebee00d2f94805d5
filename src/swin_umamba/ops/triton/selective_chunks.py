"""The contribution of one chunk of a sequence to the states, or to their gradients.

As in ``ss2d_chunks.py``. Forward, with S_t the sum of the step sizes of the chunk after step t::

    end_n = sum over t of exp(A_n S_t) delta_t u_t B_t,n

and backward, with P_t the sum up to and including step t::

    end_n = sum over t of exp(A_n P_t) grad_y_t C_t,n
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from swin_umamba.ops.triton.launch import CHUNK, SIZES, channel_block, device_of, or_any, warps_of
from swin_umamba.ops.triton.sequence_tiles import channels_of_group_block, step_sizes, steps_of_chunk
from swin_umamba.ops.triton.tiles import chunk_end, load_tile, running_sums


@triton.jit(do_not_specialize=SIZES)
def selective_chunks_kernel(  # type: ignore[no-untyped-def]
    sequence, delta, A, matrix, delta_bias, ends, sums, dim, length, chunks, blocks, groups,
    D_STATE: tl.constexpr, CHUNK: tl.constexpr, CHANNELS: tl.constexpr, ADJOINT: tl.constexpr,
    HAS_BIAS: tl.constexpr, SOFTPLUS: tl.constexpr,
):  # fmt: skip
    """Process a chunk and channel block; ``sequence`` and ``matrix``: u and B, or the gradient of y and C."""
    chunk = tl.program_id(0)
    batch = tl.program_id(2).to(tl.int64)
    channels, channel_mask = channels_of_group_block(blocks, dim // groups, CHANNELS)
    steps = steps_of_chunk(chunk, CHUNK)
    step_mask = steps < length
    mask = step_mask[:, None] & channel_mask[None, :]
    places = (batch * dim + channels)[None, :] * length + steps[:, None]
    step = step_sizes(delta + places, mask, delta_bias + channels, channel_mask, HAS_BIAS, SOFTPLUS)
    weight = load_tile(sequence + places, mask)
    if ADJOINT:
        time_left, _ = running_sums(step, False)
    else:
        _, time_left = running_sums(step, True)
        weight *= step
    group = batch * groups + tl.program_id(1) // blocks
    place = batch * chunks + chunk
    chunk_end(
        time_left, weight, matrix + group * D_STATE * length, steps, step_mask, length,
        A + channels * D_STATE, ends + place * D_STATE * dim + channels, channel_mask, dim, D_STATE,
    )  # fmt: skip
    tl.store(sums + place * dim + channels, tl.sum(step, axis=0), mask=channel_mask)


def selective_chunks(
    sequence: Tensor,
    delta: Tensor,
    A: Tensor,
    matrix: Tensor,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    ends: Tensor,
    sums: Tensor,
    *,
    adjoint: bool,
) -> None:
    """Fill ``ends`` (batch, 1, chunks, d_state, dim) and ``sums`` (batch, 1, chunks, dim).

    ``sequence`` and ``matrix`` are u and B or, with ``adjoint``, the gradient of the output and C.
    """
    batch, dim, length = sequence.shape
    groups, chunks = matrix.shape[1], ends.shape[2]
    block = channel_block(dim // groups)
    blocks = triton.cdiv(dim // groups, block)
    with device_of(sequence):
        selective_chunks_kernel[(chunks, groups * blocks, batch)](
            sequence, delta, A, matrix, or_any(delta_bias, A), ends, sums, dim, length, chunks, blocks,
            groups, D_STATE=A.shape[1], CHUNK=CHUNK, CHANNELS=block, ADJOINT=adjoint,
            HAS_BIAS=delta_bias is not None, SOFTPLUS=delta_softplus, num_warps=warps_of(block),
        )  # fmt: skip
