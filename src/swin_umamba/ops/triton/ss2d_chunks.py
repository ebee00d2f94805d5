"""The contribution of one chunk of a path to the states, or to their gradients.

Forward it is h at the end of the chunk for h = 0 at its start; backward, with time reversed, the gradient of
the state before the chunk if none comes from beyond its end::

    h_t = exp(delta_t A_n) h_{t-1} + delta_t x_t B_t,n
    g_t = exp(delta_t A_n) (g_{t+1} + grad_y_t C_t,n)
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from swin_umamba.ops.launch_settings import launch_settings
from swin_umamba.ops.triton.launch import CHUNK, SIZES, TimeLoop, device_of, or_any, padded, registers
from swin_umamba.ops.triton.tiles import channels_of_block
from swin_umamba.ops.triton.time_loop import load_rates, load_weights, path_of_chunk, run_states


@triton.jit(do_not_specialize=SIZES)
def ss2d_chunks_kernel(  # type: ignore[no-untyped-def]
    image, x_dbl, delta, dt_projs_weight, dt_projs_bias, A, starts, ends, sums, height, width, d_inner,
    dt_rank, chunks, steps, parts,
    ADJOINT: tl.constexpr, D_STATE: tl.constexpr, STATES: tl.constexpr, CHANNELS: tl.constexpr,
    RANK: tl.constexpr, RANKS: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    """Process one chunk, channel block and direction; ``image`` is x, or the gradient of y.

    Without ``PART``, chunks start from zero, and the state at the end is stored. With it, they start from
    ``starts``, and the state that enters each part of so many steps is stored.
    """
    # 1. The channels, direction and pixels of this program.
    chunk = tl.program_id(0)
    length = height * width
    number = (tl.program_id(2) // 4).to(tl.int64)
    first_pixel = number * length
    k = tl.program_id(2) % 4
    channels = channels_of_block(CHANNELS)
    channel_mask = channels < d_inner
    parameters = k * d_inner + channels
    backwards = (k // 2 + ADJOINT) % 2
    count, pixel, left, stride, jump, line = path_of_chunk(
        chunk, steps, length, height, width, k % 2, backwards
    )
    columns = dt_rank + 2 * D_STATE
    low = x_dbl + (first_pixel * 4 + k) * columns
    # 2. What stays in registers.
    rate = load_rates(A + parameters * D_STATE, channel_mask, D_STATE, STATES)
    weights = load_weights(dt_projs_weight + parameters * dt_rank, channel_mask, RANK, RANKS)
    bias = tl.load(dt_projs_bias + parameters, mask=channel_mask, other=0.0)
    # 3. All steps; the state at the end and the sum of their sizes, or the state before each part.
    values = image + first_pixel * d_inner + channels
    sizes = delta + (k * (tl.num_programs(2) // 4) + number) * length * d_inner + channels
    path = tl.program_id(2).to(tl.int64)
    n = tl.arange(0, STATES)[:, None]
    mask = channel_mask[None, :] & (n < D_STATE)
    numbers = n * d_inner + channels[None, :]
    total = tl.full((CHANNELS,), 0.0, tl.float32)
    if PART > 0:
        start = starts + (path * chunks + chunk) * D_STATE * d_inner
        state = tl.load(start + numbers, mask=mask, other=0.0)
        inside = tl.cdiv(count, PART)
        for order in range(inside):
            part = tl.where(backwards != 0, inside - 1 - order, order)
            place = path * parts + chunk * (steps // PART) + part
            tl.store(ends + place * D_STATE * d_inner + numbers, state, mask=mask)
            state, total, pixel, left = run_states(
                state, total, values, sizes, low, low + dt_rank + ADJOINT * D_STATE, weights, bias, rate,
                channel_mask, d_inner, 4 * columns, 1, tl.minimum(PART, count - part * PART), pixel, left,
                stride, jump, line, ADJOINT, D_STATE, STATES, RANK, RANKS, True,
            )  # fmt: skip
    else:
        state = tl.full((STATES, CHANNELS), 0.0, tl.float32)
        state, total, pixel, left = run_states(
            state, total, values, sizes, low, low + dt_rank + ADJOINT * D_STATE, weights, bias, rate,
            channel_mask, d_inner, 4 * columns, 1, count, pixel, left, stride, jump, line, ADJOINT, D_STATE,
            STATES, RANK, RANKS, True,
        )  # fmt: skip
        place = path * chunks + chunk
        tl.store(ends + place * D_STATE * d_inner + numbers, state, mask=mask)
        tl.store(sums + place * d_inner + channels, total, mask=channel_mask)


def ss2d_chunks(
    image: Tensor,
    x_dbl: Tensor,
    delta: Tensor | None,
    dt_projs_weight: Tensor,
    dt_projs_bias: Tensor,
    A: Tensor,
    steps: int,
    ends: Tensor,
    sums: Tensor,
    *,
    adjoint: bool,
    starts: Tensor | None = None,
) -> None:
    """Fill ``ends`` (batch, 4, chunks, d_state, d_inner) and ``sums`` (batch, 4, chunks, d_inner).

    ``image`` is x or, with ``adjoint``, the gradient of the output; ``delta`` (4, batch * height * width,
    d_inner) the projected dt; if there is none, it is computed here. A chunk has ``steps`` pixels. With
    ``starts``, the states that enter the chunks, fill ``ends`` instead with those that enter every ``CHUNK``
    pixels, and leave ``sums`` alone.
    """
    batch, height, width, d_inner = image.shape
    settings = launch_settings(image.device)
    loop, chunks = TimeLoop.of(d_inner, A.shape[2], settings), sums.shape[2]
    dt_rank = dt_projs_weight.shape[2]
    rank = dt_rank if delta is None else 0
    most = settings.chunk_registers if starts is None else settings.part_registers
    with device_of(image):
        ss2d_chunks_kernel[(chunks, triton.cdiv(d_inner, loop.channels), batch * 4)](
            image, x_dbl, or_any(delta, A), dt_projs_weight, dt_projs_bias, A, or_any(starts, A), ends, sums,
            height, width, d_inner, dt_rank, chunks, steps, ends.shape[2], ADJOINT=int(adjoint),
            D_STATE=A.shape[2], STATES=loop.states, CHANNELS=loop.channels, RANK=rank, RANKS=padded(rank),
            PART=0 if starts is None else CHUNK, num_warps=loop.warps,
            maxnreg=registers(most, A.shape[2]),
        )  # fmt: skip
