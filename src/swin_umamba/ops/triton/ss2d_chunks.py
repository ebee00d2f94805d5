"""The contribution of one chunk of a path to the states, or to their gradients.

Forward, with S_t the sum of the step sizes of the chunk after step t::

    end_n = sum over t of exp(A_n S_t) delta_t x_t B_t,n

which is h at the end of the chunk for h = 0 at its start. Backward, with P_t the sum up to and including t::

    end_n = sum over t of exp(A_n P_t) grad_y_t C_t,n

the gradient of the state before the chunk, if none comes from beyond its end. Neither needs a scan per state.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from swin_umamba.ops.triton.image_tiles import pixels_of_path, projected_dt
from swin_umamba.ops.triton.launch import CHUNK, SIZES, channel_block, device_of, needs_wide_offsets, warps_of
from swin_umamba.ops.triton.tiles import channels_of_block, chunk_end, load_tile, running_sums, softplus


@triton.jit(do_not_specialize=SIZES)
def ss2d_chunks_kernel(  # type: ignore[no-untyped-def]
    tile, x_dbl, dt_projs_weight, dt_projs_bias, A, ends, sums, height, width, d_inner, chunks,
    DT_RANK: tl.constexpr, D_STATE: tl.constexpr, CHUNK: tl.constexpr, CHANNELS: tl.constexpr,
    ADJOINT: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Process one chunk, channel block and direction; ``tile`` is x, or the gradient of y."""
    # 1. The pixels, channels and direction of this program.
    chunk = tl.program_id(0)
    image = (tl.program_id(2) // 4).to(tl.int64)
    k = tl.program_id(2) % 4
    channels = channels_of_block(CHANNELS)
    channel_mask = channels < d_inner
    positions = chunk * CHUNK + tl.arange(0, CHUNK)
    row_mask = positions < height * width
    mask = row_mask[:, None] & channel_mask[None, :]
    pixels = pixels_of_path(positions, height, width, k % 2, WIDE)
    COLUMNS: tl.constexpr = DT_RANK + 2 * D_STATE
    x_dbl += (image * height * width * 4 + k) * COLUMNS
    rows = pixels * (4 * COLUMNS)
    parameters = k * d_inner + channels

    # 2. Step sizes.
    projected = projected_dt(
        x_dbl, rows, row_mask, dt_projs_weight + parameters * DT_RANK, dt_projs_bias + parameters,
        channel_mask, DT_RANK,
    )  # fmt: skip
    delta = tl.where(row_mask[:, None], softplus(projected), 0.0)
    # 3. What enters at each step, and the time from there to the end of the chunk.
    weight = load_tile(
        tile + image * height * width * d_inner + (pixels * d_inner)[:, None] + channels[None, :], mask
    )
    # In directions 2 and 3, time runs against the order of the tile's rows.
    if ADJOINT:
        if k < 2:
            time_left, _ = running_sums(delta, False)
        else:
            time_left, _ = running_sums(delta, True)
        matrix = x_dbl + DT_RANK + D_STATE
    else:
        if k < 2:
            _, time_left = running_sums(delta, True)
        else:
            _, time_left = running_sums(delta, False)
        weight *= delta
        matrix = x_dbl + DT_RANK
    # 4. The state at the end of the chunk, and the sum of its steps.
    place = tl.program_id(2).to(tl.int64) * chunks + chunk
    chunk_end(
        time_left, weight, matrix, rows, row_mask, 1, A + parameters * D_STATE,
        ends + place * D_STATE * d_inner + channels, channel_mask, d_inner, D_STATE,
    )  # fmt: skip
    tl.store(sums + place * d_inner + channels, tl.sum(delta, axis=0), mask=channel_mask)


def ss2d_chunks(
    image: Tensor,
    x_dbl: Tensor,
    dt_projs_weight: Tensor,
    dt_projs_bias: Tensor,
    A: Tensor,
    ends: Tensor,
    sums: Tensor,
    *,
    adjoint: bool,
) -> None:
    """Fill ``ends`` (batch, 4, chunks, d_state, d_inner) and ``sums`` (batch, 4, chunks, d_inner).

    ``image`` is x or, with ``adjoint``, the gradient of the output.
    """
    batch, height, width, d_inner = image.shape
    block, chunks = channel_block(d_inner), ends.shape[2]
    with device_of(image):
        ss2d_chunks_kernel[(chunks, triton.cdiv(d_inner, block), batch * 4)](
            image, x_dbl, dt_projs_weight, dt_projs_bias, A, ends, sums, height, width, d_inner, chunks,
            DT_RANK=dt_projs_weight.shape[2], D_STATE=A.shape[2], CHUNK=CHUNK, CHANNELS=block,
            ADJOINT=adjoint, WIDE=needs_wide_offsets(image, x_dbl), num_warps=warps_of(block),
        )  # fmt: skip
