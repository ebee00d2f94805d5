"""All gradients of the four-direction scan within a chunk, from both ends.

The states are recomputed from the saved one that enters the chunk; the adjoint runs back from the gradient of
the one that leaves it (``tiles.state_gradients``). With v the projected dt, s = sigmoid(v) and m_t the
gradient of delta_t x_t::

    grad_x_t = delta_t m_t + D grad_y_t                grad_D = sum over all pixels of grad_y x
    grad_v_t = s_t (x_t m_t + gradient of delta_t by way of the decays)

Terms of sums over more than a chunk and channel block go into memory. The gradient of v is kept whole: the
sums that give the gradients of the low-rank dt, the projection and its bias are matrix products, which a
library computes many times faster than a kernel that adds up across threads.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from swin_umamba.ops.launch_settings import launch_settings
from swin_umamba.ops.triton.image_tiles import pixels_of_path, projected_step_sizes
from swin_umamba.ops.triton.launch import (
    CHUNK,
    SIZES,
    channel_block,
    device_of,
    needs_wide_offsets,
    or_any,
    registers,
)
from swin_umamba.ops.triton.tiles import (
    channels_of_block,
    load_tile,
    softplus_slope,
    state_gradients,
    step_sizes,
)


@triton.jit(do_not_specialize=SIZES)
def ss2d_gradients_kernel(  # type: ignore[no-untyped-def]
    grad_y, x, x_dbl, delta, dt_projs_weight, dt_projs_bias, A, D, states, leaving, by_rows, grad_x,
    grad_dt, partial_rows, partial_D, height, width, d_inner, dt_rank, chunks,
    RANK: tl.constexpr, D_STATE: tl.constexpr, CHUNK: tl.constexpr, CHANNELS: tl.constexpr,
    BY_COLUMNS: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Process one chunk and channel block of one image, in two directions.

    With ``RANK`` 0, ``delta`` is the projected dt, and may be the same memory as its gradient ``grad_dt``.
    """
    # 1. The pixels and channels of this program.
    chunk = tl.program_id(0)
    image = tl.program_id(2).to(tl.int64)
    images = tl.num_programs(2)
    length = height * width
    channels = channels_of_block(CHANNELS)
    channel_mask = channels < d_inner
    positions = chunk * CHUNK + tl.arange(0, CHUNK)
    row_mask = positions < length
    mask = row_mask[:, None] & channel_mask[None, :]
    pixels = pixels_of_path(positions, height, width, BY_COLUMNS, WIDE)
    places = (pixels * d_inner)[:, None] + channels[None, :]
    rank = RANK if RANK > 0 else dt_rank  # a constant where it is one anyway
    columns = rank + 2 * D_STATE
    rows = pixels * (4 * columns)
    first_pixel = image * height * width
    first_place = first_pixel * d_inner
    # 2. Load the tile; the skip term needs no state.
    u = load_tile(x + first_place + places, mask)
    grad_out = load_tile(grad_y + first_place + places, mask)
    grad_u = tl.full((CHUNK, CHANNELS), 0.0, tl.float32)
    if BY_COLUMNS == 0:
        sums = partial_D + (image * chunks + chunk) * d_inner + channels
        tl.store(sums, tl.sum(grad_out * u, axis=0), mask=channel_mask)

    # 3. Forwards and backwards: step sizes, all states, gradients of both.
    for back in tl.static_range(2):
        k = BY_COLUMNS + 2 * back
        inputs = x_dbl + (first_pixel * 4 + k) * columns
        parameters = k * d_inner + channels
        bias = dt_projs_bias + parameters
        if RANK > 0:
            weight = dt_projs_weight + parameters * RANK
            step = projected_step_sizes(inputs, rows, row_mask, weight, bias, channel_mask, RANK)
        else:
            matrix = delta + (k * images + image) * length * d_inner
            step = step_sizes(matrix + places, mask, bias, channel_mask, True, True)
        state = ((image * 4 + k) * chunks + chunk) * D_STATE * d_inner
        B = inputs + rank
        partial = ((tl.program_id(1) * images + image) * 4 + k) * 2 * D_STATE * length
        partial_B = partial_rows + partial + positions
        through_input, through_decay = state_gradients(
            step, u, grad_out, B, B + D_STATE, rows, row_mask, 1, A + parameters * D_STATE,
            states + state + channels, leaving + state + channels, channel_mask, d_inner,
            partial_B, partial_B + D_STATE * length, length, D_STATE, back == 1,
        )  # fmt: skip
        grad_u += step * through_input
        grad_u += tl.load(D + parameters, mask=channel_mask, other=0.0)[None, :] * grad_out
        grad_projected = softplus_slope(step) * (u * through_input + through_decay)
        # (4, batch, pixels, channels): one matrix per direction.
        offset = (k * images + image) * length * d_inner
        tl.store(grad_dt + offset + places, grad_projected, mask=mask)
    # 4. Add the result of the directions along rows, and store.
    if BY_COLUMNS == 1:
        grad_u += load_tile(by_rows + first_place + places, mask)
    tl.store(grad_x + first_place + places, grad_u.to(grad_x.dtype.element_ty), mask=mask)


def ss2d_gradients(
    grad_y: Tensor,
    x: Tensor,
    x_dbl: Tensor,
    delta: Tensor | None,
    dt_projs_weight: Tensor,
    dt_projs_bias: Tensor,
    A: Tensor,
    D: Tensor,
    states: Tensor,
    leaving: Tensor,
    by_rows: Tensor,
    grad_x: Tensor,
    grad_dt: Tensor,
    partial_rows: Tensor,
    partial_D: Tensor,
) -> None:
    """Fill the last five tensors; turn ``leaving`` from gradients of states into the chunks' gradients of A.

    Parameters
    ----------
    delta
        The projected dt, of the shape of ``grad_dt``, or that very tensor, which is then overwritten; if
        there is none, it is computed here.
    by_rows, grad_x
        Shape of ``x``; the first is float32 and may be the same tensor as the second.
    grad_dt
        Gradient of the projected dt, shape (4, batch * height * width, d_inner).
    partial_rows
        Gradients of B and C, each summed over one block of channels, in the order of the path: shape (channel
        blocks, batch, 4, 2 * d_state, height * width).
    partial_D
        Gradient of D of each chunk, the same for every direction: shape (batch, chunks, d_inner).
    """
    batch, height, width, d_inner = x.shape
    block, chunks, dt_rank = channel_block(d_inner), states.shape[2], dt_projs_weight.shape[2]
    most = launch_settings(x.device).gradient_registers
    with device_of(x):
        for columns, target in ((0, by_rows), (1, grad_x)):
            ss2d_gradients_kernel[(chunks, triton.cdiv(d_inner, block), batch)](
                grad_y, x, x_dbl, or_any(delta, A), dt_projs_weight, dt_projs_bias, A, D, states, leaving,
                by_rows, target, grad_dt, partial_rows, partial_D, height, width, d_inner, dt_rank, chunks,
                RANK=dt_rank if delta is None else 0, D_STATE=A.shape[2], CHUNK=CHUNK, CHANNELS=block,
                BY_COLUMNS=columns, WIDE=needs_wide_offsets(x, x_dbl), num_warps=1,
                maxnreg=registers(most, A.shape[2]),
            )  # fmt: skip
