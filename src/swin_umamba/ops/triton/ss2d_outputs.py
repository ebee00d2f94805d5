"""The output of the four-direction scan, from the states that enter each chunk.

    h_t = exp(delta_t A) h_{t-1} + delta_t x_t B_t,    y_t = sum over n of C_t,n h_t,n + D x_t

A program computes a direction and its reverse over the same pixels, read once. The pass by rows (directions 0
and 2) stores their sum, to which the pass by columns (1 and 3) adds its own: two launches instead of an
atomic addition or a second pass over four images.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from swin_umamba.ops.triton.image_tiles import pixels_of_path, projected_dt
from swin_umamba.ops.triton.launch import CHUNK, SIZES, channel_block, device_of, needs_wide_offsets, warps_of
from swin_umamba.ops.triton.tiles import add_outputs, channels_of_block, load_tile, softplus


@triton.jit(do_not_specialize=SIZES)
def ss2d_outputs_kernel(  # type: ignore[no-untyped-def]
    x, x_dbl, dt_projs_weight, dt_projs_bias, A, D, states, by_rows, y, height, width, d_inner, chunks,
    DT_RANK: tl.constexpr, D_STATE: tl.constexpr, CHUNK: tl.constexpr, CHANNELS: tl.constexpr,
    BY_COLUMNS: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Process one chunk and channel block of one image, in two directions."""
    # 1. The pixels and channels of this program.
    chunk = tl.program_id(0)
    image = tl.program_id(2).to(tl.int64)
    channels = channels_of_block(CHANNELS)
    channel_mask = channels < d_inner
    positions = chunk * CHUNK + tl.arange(0, CHUNK)
    row_mask = positions < height * width
    mask = row_mask[:, None] & channel_mask[None, :]
    pixels = pixels_of_path(positions, height, width, BY_COLUMNS, WIDE)
    places = (pixels * d_inner)[:, None] + channels[None, :]
    COLUMNS: tl.constexpr = DT_RANK + 2 * D_STATE
    rows = pixels * (4 * COLUMNS)
    first_pixel = image * height * width
    first_place = first_pixel * d_inner
    # 2. Load the tile.
    u = load_tile(x + first_place + places, mask)
    out = tl.full((CHUNK, CHANNELS), 0.0, tl.float32)
    # 3. Forwards and backwards: step sizes, all states, the skip term.
    for back in tl.static_range(2):
        k = BY_COLUMNS + 2 * back
        inputs = x_dbl + (first_pixel * 4 + k) * COLUMNS
        parameters = k * d_inner + channels
        projected = projected_dt(
            inputs, rows, row_mask, dt_projs_weight + parameters * DT_RANK, dt_projs_bias + parameters,
            channel_mask, DT_RANK,
        )  # fmt: skip
        delta = tl.where(row_mask[:, None], softplus(projected), 0.0)
        state = ((image.to(tl.int64) * 4 + k) * chunks + chunk) * D_STATE * d_inner
        B = inputs + DT_RANK
        out = add_outputs(
            out, delta, u, B, B + D_STATE, rows, row_mask, 1, A + parameters * D_STATE,
            states + state + channels, channel_mask, d_inner, D_STATE, back == 1,
        )  # fmt: skip
        out += tl.load(D + parameters, mask=channel_mask, other=0.0)[None, :] * u
    # 4. Add the result of the directions along rows, and store.
    if BY_COLUMNS == 1:
        out += load_tile(by_rows + first_place + places, mask)
    tl.store(y + first_place + places, out.to(y.dtype.element_ty), mask=mask)


def ss2d_outputs(
    x: Tensor,
    x_dbl: Tensor,
    dt_projs_weight: Tensor,
    dt_projs_bias: Tensor,
    A: Tensor,
    D: Tensor,
    states: Tensor,
    by_rows: Tensor,
    y: Tensor,
) -> None:
    """Fill ``y`` by way of the float32 tensor ``by_rows``, which may be the same tensor."""
    batch, height, width, d_inner = x.shape
    block, chunks = channel_block(d_inner), states.shape[2]
    wide = needs_wide_offsets(x, x_dbl)
    with device_of(x):
        for columns, target in ((0, by_rows), (1, y)):
            ss2d_outputs_kernel[(chunks, triton.cdiv(d_inner, block), batch)](
                x, x_dbl, dt_projs_weight, dt_projs_bias, A, D, states, by_rows, target, height, width,
                d_inner, chunks, DT_RANK=dt_projs_weight.shape[2], D_STATE=A.shape[2], CHUNK=CHUNK,
                CHANNELS=block, BY_COLUMNS=columns, WIDE=wide, num_warps=warps_of(block),
            )  # fmt: skip
