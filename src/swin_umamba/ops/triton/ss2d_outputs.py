"""The output of the four-direction scan, from the states that enter each chunk.

    h_t = exp(delta_t A) h_{t-1} + delta_t x_t B_t,    y_t = sum over n of C_t,n h_t,n + D x_t

A program computes a direction and then its reverse over the same pixels. The pass by rows (directions 0 and
2) stores their sum, to which the pass by columns (1 and 3) adds its own: two launches instead of an atomic
addition or a second pass over four images.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from swin_umamba.ops.launch_settings import launch_settings
from swin_umamba.ops.triton.launch import SIZES, TimeLoop, device_of, or_any, padded, registers
from swin_umamba.ops.triton.tiles import channels_of_block
from swin_umamba.ops.triton.time_loop import load_rates, load_weights, outputs_of_chunk, path_of_chunk


@triton.jit(do_not_specialize=(*SIZES, "by_columns"))
def ss2d_outputs_kernel(  # type: ignore[no-untyped-def]
    x, x_dbl, delta, dt_projs_weight, dt_projs_bias, A, D, states, partial, y, height, width, d_inner,
    dt_rank, chunks, steps, by_columns,
    D_STATE: tl.constexpr, STATES: tl.constexpr, CHANNELS: tl.constexpr, RANK: tl.constexpr,
    RANKS: tl.constexpr,
):  # fmt: skip
    """Process one chunk and channel block of one image, in two directions."""
    # 1. The channels and the first pixel of this program's image.
    chunk = tl.program_id(0)
    image = tl.program_id(2).to(tl.int64)
    length = height * width
    first_pixel = image * length
    channels = channels_of_block(CHANNELS)
    channel_mask = channels < d_inner
    place = first_pixel * d_inner + channels
    columns = dt_rank + 2 * D_STATE
    n = tl.arange(0, STATES)[:, None]
    state_mask = channel_mask[None, :] & (n < D_STATE)
    for back in tl.static_range(2):
        # 2. What stays in registers.
        k = by_columns + 2 * back
        parameters = k * d_inner + channels
        rate = load_rates(A + parameters * D_STATE, channel_mask, D_STATE, STATES)
        weights = load_weights(dt_projs_weight + parameters * dt_rank, channel_mask, RANK, RANKS)
        bias = tl.load(dt_projs_bias + parameters, mask=channel_mask, other=0.0)
        skip = tl.load(D + parameters, mask=channel_mask, other=0.0)
        start = states + ((image * 4 + k) * chunks + chunk) * D_STATE * d_inner
        state = tl.load(start + n * d_inner + channels[None, :], mask=state_mask, other=0.0)
        # 3. All steps. Only the very first direction finds nothing to add to.
        count, pixel, left, stride, jump, line = path_of_chunk(
            chunk, steps, length, height, width, by_columns, back
        )
        low = x_dbl + (first_pixel * 4 + k) * columns
        B = low + dt_rank
        sizes = delta + (k * tl.num_programs(2) + image) * length * d_inner + channels
        if back == 0:
            target = partial + place
        else:
            target = y + place
            tl.debug_barrier()  # what the other direction stored is read again
        outputs_of_chunk(
            state, x + place, sizes, low, B, B + D_STATE, weights, bias, rate, skip, channel_mask,
            partial + place, k > 0, target, d_inner, 4 * columns, 1, count, pixel, left, stride, jump, line,
            D_STATE, STATES, RANK, RANKS, True,
        )  # fmt: skip


def ss2d_outputs(
    x: Tensor,
    x_dbl: Tensor,
    delta: Tensor | None,
    dt_projs_weight: Tensor,
    dt_projs_bias: Tensor,
    A: Tensor,
    D: Tensor,
    steps: int,
    states: Tensor,
    partial: Tensor,
    y: Tensor,
) -> None:
    """Fill ``y`` by way of the float32 tensor ``partial``, which may be the same tensor.

    ``delta`` (4, batch * height * width, d_inner) is the projected dt; if there is none, it is computed here.
    """
    batch, height, width, d_inner = x.shape
    settings = launch_settings(x.device)
    loop, chunks = TimeLoop.of(d_inner, A.shape[2], settings), states.shape[2]
    dt_rank = dt_projs_weight.shape[2]
    rank = dt_rank if delta is None else 0
    with device_of(x):
        for by_columns, target in ((0, partial), (1, y)):
            ss2d_outputs_kernel[(chunks, triton.cdiv(d_inner, loop.channels), batch)](
                x, x_dbl, or_any(delta, A), dt_projs_weight, dt_projs_bias, A, D, states, partial, target,
                height, width, d_inner, dt_rank, chunks, steps, by_columns, D_STATE=A.shape[2],
                STATES=loop.states, CHANNELS=loop.channels, RANK=rank, RANKS=padded(rank),
                num_warps=loop.warps, maxnreg=registers(settings.output_registers, A.shape[2]),
            )  # fmt: skip
