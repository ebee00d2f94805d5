"""Addresses along the four paths through an image, and the step sizes of a tile of pixels.

A chunk is CHUNK neighbours in row-major order (directions 0 and 2) or in column-major order (1 and 3). The
reversed directions use the same chunks and scan them backwards, so that nothing is ever permuted.
"""

from __future__ import annotations

import triton
import triton.language as tl

from swin_umamba.ops.triton.tiles import load_tile, softplus


@triton.jit
def pixels_of_path(positions, height, width, column, WIDE: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return the numbers of the pixels at these positions of a path by rows or by columns.

    Offsets within an image are 32 bits wide, which saves registers, unless ``WIDE``.
    """
    pixels = tl.where(column == 1, (positions % height) * width + positions // height, positions)
    if WIDE:
        return pixels.to(tl.int64)
    else:
        return pixels


@triton.jit
def projected_step_sizes(  # type: ignore[no-untyped-def]
    x_dbl, rows, row_mask, weight, bias, channel_mask, RANK: tl.constexpr
):
    """Return softplus(bias_d + sum over r of weight_d,r rows_t,r), zero where masked.

    ``weight`` and ``bias`` point to r = 0 of each channel, ``x_dbl + rows`` to that of each step.
    """
    projected = tl.full((rows.shape[0], bias.shape[0]), 0.0, tl.float32)
    for r in range(RANK):
        low = load_tile(x_dbl + r + rows, row_mask)
        projected += low[:, None] * tl.load(weight + r, mask=channel_mask, other=0.0)[None, :]
    projected += tl.load(bias, mask=channel_mask, other=0.0)[None, :]
    return tl.where(row_mask[:, None], softplus(projected), 0.0)
