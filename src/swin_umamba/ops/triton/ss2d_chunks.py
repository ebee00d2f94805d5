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

from swin_umamba.ops.triton.launch import SIZES, TimeLoop, device_of
from swin_umamba.ops.triton.tiles import channels_of_block
from swin_umamba.ops.triton.time_loop import end_of_chunk, load_rates, load_weights, path_of_chunk


@triton.jit(do_not_specialize=SIZES)
def ss2d_chunks_kernel(  # type: ignore[no-untyped-def]
    image, x_dbl, dt_projs_weight, dt_projs_bias, A, ends, sums, height, width, d_inner, dt_rank, chunks,
    steps, ADJOINT: tl.constexpr, D_STATE: tl.constexpr, STATES: tl.constexpr, CHANNELS: tl.constexpr,
    RANK: tl.constexpr, RANKS: tl.constexpr,
):  # fmt: skip
    """Process one chunk, channel block and direction; ``image`` is x, or the gradient of y."""
    # 1. The channels, direction and pixels of this program.
    chunk = tl.program_id(0)
    length = height * width
    first_pixel = (tl.program_id(2) // 4).to(tl.int64) * length
    k = tl.program_id(2) % 4
    channels = channels_of_block(CHANNELS)
    channel_mask = channels < d_inner
    parameters = k * d_inner + channels
    count, pixel, left, stride, jump, line = path_of_chunk(
        chunk, steps, length, height, width, k % 2, (k // 2 + ADJOINT) % 2
    )
    columns = dt_rank + 2 * D_STATE
    low = x_dbl + (first_pixel * 4 + k) * columns
    # 2. What stays in registers.
    rate = load_rates(A + parameters * D_STATE, channel_mask, D_STATE, STATES)
    weights = load_weights(dt_projs_weight + parameters * dt_rank, channel_mask, RANK, RANKS)
    bias = tl.load(dt_projs_bias + parameters, mask=channel_mask, other=0.0)
    # 3. All steps; the state at the end, and the sum of their sizes.
    values = image + first_pixel * d_inner + channels
    state, total = end_of_chunk(
        values, values, low, low + dt_rank + ADJOINT * D_STATE, weights, bias, rate, channel_mask, d_inner,
        4 * columns, 1, count, pixel, left, stride, jump, line, ADJOINT, D_STATE, STATES, RANK, RANKS, True,
    )  # fmt: skip
    place = tl.program_id(2).to(tl.int64) * chunks + chunk
    n = tl.arange(0, STATES)[:, None]
    mask = channel_mask[None, :] & (n < D_STATE)
    tl.store(ends + place * D_STATE * d_inner + n * d_inner + channels[None, :], state, mask=mask)
    tl.store(sums + place * d_inner + channels, total, mask=channel_mask)


def ss2d_chunks(
    image: Tensor,
    x_dbl: Tensor,
    dt_projs_weight: Tensor,
    dt_projs_bias: Tensor,
    A: Tensor,
    steps: int,
    ends: Tensor,
    sums: Tensor,
    *,
    adjoint: bool,
) -> None:
    """Fill ``ends`` (batch, 4, chunks, d_state, d_inner) and ``sums`` (batch, 4, chunks, d_inner).

    ``image`` is x or, with ``adjoint``, the gradient of the output; a chunk has ``steps`` pixels.
    """
    batch, height, width, d_inner = image.shape
    loop, chunks, dt_rank = TimeLoop.of(d_inner, A.shape[2]), ends.shape[2], dt_projs_weight.shape[2]
    with device_of(image):
        ss2d_chunks_kernel[(chunks, triton.cdiv(d_inner, loop.channels), batch * 4)](
            image, x_dbl, dt_projs_weight, dt_projs_bias, A, ends, sums, height, width, d_inner, dt_rank,
            chunks, steps, ADJOINT=int(adjoint), D_STATE=A.shape[2], STATES=loop.states,
            CHANNELS=loop.channels, RANK=dt_rank, RANKS=triton.next_power_of_2(dt_rank), num_warps=loop.warps,
        )  # fmt: skip
