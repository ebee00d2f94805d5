"""What one chunk of a sequence adds to the states, or to their gradients, as in ``ss2d_chunks.py``."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from swin_umamba.ops.launch_settings import launch_settings
from swin_umamba.ops.triton.launch import CHUNK, SIZES, TimeLoop, device_of, or_any, registers
from swin_umamba.ops.triton.sequence_tiles import channels_of_group_block
from swin_umamba.ops.triton.time_loop import load_rates, path_of_chunk, run_states


@triton.jit(do_not_specialize=SIZES)
def selective_chunks_kernel(  # type: ignore[no-untyped-def]
    sequence, delta, A, matrix, delta_bias, starts, ends, sums, dim, length, chunks, steps, parts,
    blocks, groups,
    ADJOINT: tl.constexpr, D_STATE: tl.constexpr, STATES: tl.constexpr, CHANNELS: tl.constexpr,
    HAS_BIAS: tl.constexpr, SOFTPLUS: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    """Process a chunk and channel block; ``sequence`` and ``matrix``: u and B, or the gradient of y and C."""
    chunk = tl.program_id(0)
    batch = tl.program_id(2).to(tl.int64)
    channels, channel_mask = channels_of_group_block(blocks, dim // groups, CHANNELS)
    count, step, left, stride, jump, line = path_of_chunk(chunk, steps, length, 1, length, 0, ADJOINT)
    first = (batch * dim + channels) * length
    group = batch * groups + tl.program_id(1) // blocks
    rows = matrix + group * D_STATE * length
    rate = load_rates(A + channels * D_STATE, channel_mask, D_STATE, STATES)
    bias = tl.full((CHANNELS,), 0.0, tl.float32)
    if HAS_BIAS:
        bias = tl.load(delta_bias + channels, mask=channel_mask, other=0.0)
    n = tl.arange(0, STATES)[:, None]
    mask = channel_mask[None, :] & (n < D_STATE)
    numbers = n * dim + channels[None, :]
    total = tl.full((CHANNELS,), 0.0, tl.float32)
    if PART > 0:
        state = tl.load(starts + (batch * chunks + chunk) * D_STATE * dim + numbers, mask=mask, other=0.0)
        inside = tl.cdiv(count, PART)
        for order in range(inside):
            part = inside - 1 - order if ADJOINT else order
            place = batch * parts + chunk * (steps // PART) + part
            tl.store(ends + place * D_STATE * dim + numbers, state, mask=mask)
            state, total, step, left = run_states(
                state, total, sequence + first, delta + first, rows, rows, rate, bias, rate, channel_mask, 1,
                1, length, tl.minimum(PART, count - part * PART), step, left, stride, jump, line, ADJOINT,
                D_STATE, STATES, 0, 1, SOFTPLUS,
            )  # fmt: skip
    else:
        state = tl.full((STATES, CHANNELS), 0.0, tl.float32)
        state, total, step, left = run_states(
            state, total, sequence + first, delta + first, rows, rows, rate, bias, rate, channel_mask, 1, 1,
            length, count, step, left, stride, jump, line, ADJOINT, D_STATE, STATES, 0, 1, SOFTPLUS,
        )  # fmt: skip
        place = batch * chunks + chunk
        tl.store(ends + place * D_STATE * dim + numbers, state, mask=mask)
        tl.store(sums + place * dim + channels, total, mask=channel_mask)


def selective_chunks(
    sequence: Tensor,
    delta: Tensor,
    A: Tensor,
    matrix: Tensor,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    steps: int,
    ends: Tensor,
    sums: Tensor,
    *,
    adjoint: bool,
    starts: Tensor | None = None,
) -> None:
    """Fill ``ends`` (batch, 1, chunks, d_state, dim) and ``sums`` (batch, 1, chunks, dim).

    ``sequence`` and ``matrix`` are u and B or, with ``adjoint``, the gradient of the output and C. With
    ``starts``, the states that enter the chunks, fill ``ends`` instead with those that enter every ``CHUNK``
    steps, and leave ``sums`` alone.
    """
    batch, dim, length = sequence.shape
    groups, chunks = matrix.shape[1], sums.shape[2]
    settings = launch_settings(sequence.device)
    loop = TimeLoop.of(dim // groups, A.shape[1], settings)
    most = settings.chunk_registers if starts is None else settings.part_registers
    blocks = triton.cdiv(dim // groups, loop.channels)
    with device_of(sequence):
        selective_chunks_kernel[(chunks, groups * blocks, batch)](
            sequence, delta, A, matrix, or_any(delta_bias, A), or_any(starts, A), ends, sums, dim, length,
            chunks, steps, ends.shape[2], blocks, groups, ADJOINT=int(adjoint), D_STATE=A.shape[1],
            STATES=loop.states, CHANNELS=loop.channels, HAS_BIAS=delta_bias is not None,
            SOFTPLUS=delta_softplus, PART=0 if starts is None else CHUNK, num_warps=loop.warps,
            maxnreg=registers(most, A.shape[1]),
        )  # fmt: skip
