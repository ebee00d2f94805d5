"""The 3x3 depthwise convolution with SiLU of channels-last images, and its gradients.

    s = bias + sum over taps of weight x,    y = silu(s),    g = grad_y silu'(s)

A program owns a few neighbouring columns of pixels and walks down them. Each row of x is loaded three times,
once for each neighbour in the row, and enters the sums of the three rows of outputs that it belongs to; these
stay in registers. A thread owns two neighbouring channels of all columns, so sums over pixels pass no numbers
between threads.

The backward keeps no s: it computes s, g and this program's part of the gradients of weight and bias in one
walk. A second one convolves g with the taps in reverse order, which is the gradient of x. Sums are float32; g
goes through memory in the dtype of x. Each output is summed up in the order of the taps, and the parts of the
gradient of the weight in that of the programs, so equal inputs give equal bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from swin_umamba.ops.launch_settings import launch_settings
from swin_umamba.ops.triton.launch import SIZES, chunk_steps, device_of, evenly_spaced_pixels
from swin_umamba.ops.triton.tiles import LOG2_E, load_tile

CHANNELS = 64
"""Of a program, which is one warp."""
FORWARD_COLUMNS, GRADIENT_COLUMNS = 4, 2
"""Columns of pixels of a program. The gradients keep three rows of x in registers."""

_LEAST_ROWS, _MOST_ROWS = 4, 64  # that a program walks down; two more are read
_TAPS = 9


@dataclass(frozen=True)
class _Blocks:
    """How images are divided among programs: rows and columns of each, and the number of blocks of each."""

    rows: int
    columns: int
    row_blocks: int
    column_blocks: int
    grid: tuple[int, int]

    @classmethod
    def of(cls, image: Tensor, columns: int) -> _Blocks:
        """Divide images (batch, height, width, channels)."""
        batch, height, width, channels = image.shape
        column_blocks, channel_blocks = triton.cdiv(width, columns), triton.cdiv(channels, CHANNELS)
        warps = batch * column_blocks * channel_blocks
        enough = launch_settings(image.device).enough_warps
        rows = chunk_steps(warps, height, enough, _LEAST_ROWS, _MOST_ROWS)
        row_blocks = triton.cdiv(height, rows)
        return cls(
            rows, columns, row_blocks, column_blocks, (batch * row_blocks * column_blocks, channel_blocks)
        )


@triton.jit
def _block_of_program(column_blocks, row_blocks, rows, COLUMNS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return image, first row and first column of a program."""
    block = tl.program_id(0)
    first_column = (block % column_blocks) * COLUMNS
    block = block // column_blocks
    return (block // row_blocks).to(tl.int64), (block % row_blocks) * rows, first_column


@triton.jit
def _columns_of_program(  # type: ignore[no-untyped-def]
    first_column, width, d_inner, CHANNELS: tl.constexpr, COLUMNS: tl.constexpr
):
    """Return the channels and columns of a program, and which of them and of their neighbours exist.

    The compiler is told that two neighbouring channels belong to one thread. Otherwise it would give a thread
    eight, and their 72 taps.
    """
    channels = tl.program_id(1) * CHANNELS + tl.max_contiguous(tl.arange(0, CHANNELS), 2)
    channel_mask = channels < d_inner
    columns = tl.arange(0, COLUMNS)
    column = (first_column + columns)[:, None]
    left_mask = (column > 0) & (column <= width) & channel_mask[None, :]
    mask = (column < width) & channel_mask[None, :]
    right_mask = (column < width - 1) & channel_mask[None, :]
    return channels, channel_mask, columns[:, None], left_mask, mask, right_mask


@triton.jit
def _taps(weight, channel_mask, ROW: tl.constexpr, ADJOINT: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return three neighbouring taps of each channel; in reverse order for the gradient of x."""
    FIRST: tl.constexpr = 8 - 3 * ROW if ADJOINT else 3 * ROW
    STEP: tl.constexpr = -1 if ADJOINT else 1
    left = tl.load(weight + FIRST, mask=channel_mask, other=0.0)
    centre = tl.load(weight + FIRST + STEP, mask=channel_mask, other=0.0)
    right = tl.load(weight + FIRST + 2 * STEP, mask=channel_mask, other=0.0)
    return left[None, :], centre[None, :], right[None, :]


@triton.jit
def _neighbours(  # type: ignore[no-untyped-def]
    image, row, height, row_stride, pixel_stride, places, left_mask, mask, right_mask
):
    """Return the pixels left of the columns, in them, and right of them; zeros beyond the image."""
    inside = (row >= 0) & (row < height)
    centre = image + row * row_stride + places
    left = load_tile(centre - pixel_stride, left_mask & inside)
    right = load_tile(centre + pixel_stride, right_mask & inside)
    return left, load_tile(centre, mask & inside), right


@triton.jit
def _add_row(start, left, centre, right, left_tap, tap, right_tap):  # type: ignore[no-untyped-def]
    """Add what one row of pixels contributes to a row of sums."""
    return start + left * left_tap + centre * tap + right * right_tap


@triton.jit(do_not_specialize=SIZES)
def depthwise_kernel(  # type: ignore[no-untyped-def]
    x, weight, bias, y, height, width, d_inner, pixel_stride, rows, column_blocks, row_blocks,
    CHANNELS: tl.constexpr, COLUMNS: tl.constexpr, ADJOINT: tl.constexpr,
):  # fmt: skip
    """Convolve; with SiLU, or with the taps in reverse order and nothing else if ``ADJOINT``."""
    image, first_row, first_column = _block_of_program(column_blocks, row_blocks, rows, COLUMNS)
    channels, channel_mask, columns, left_mask, mask, right_mask = _columns_of_program(
        first_column, width, d_inner, CHANNELS, COLUMNS
    )
    # Only the columns of this program are counted in 32 bits.
    row_stride = width.to(tl.int64) * pixel_stride
    x += (image * height * width + first_column) * pixel_stride
    y += (image * height * width + first_column) * d_inner
    places = columns * pixel_stride + channels[None, :]
    targets = columns * d_inner + channels[None, :]
    top_left, top, top_right = _taps(weight + channels * 9, channel_mask, 0, ADJOINT)
    mid_left, mid, mid_right = _taps(weight + channels * 9, channel_mask, 1, ADJOINT)
    low_left, low, low_right = _taps(weight + channels * 9, channel_mask, 2, ADJOINT)
    if ADJOINT:
        start = tl.full((1, CHANNELS), 0.0, tl.float32)
    else:
        start = tl.load(bias + channels, mask=channel_mask, other=0.0)[None, :]
    # The two rows above the first row of sums that can be finished.
    left, centre, right = _neighbours(
        x, first_row - 1, height, row_stride, pixel_stride, places, left_mask, mask, right_mask
    )
    this = _add_row(start, left, centre, right, top_left, top, top_right)
    left, centre, right = _neighbours(
        x, first_row, height, row_stride, pixel_stride, places, left_mask, mask, right_mask
    )
    this = _add_row(this, left, centre, right, mid_left, mid, mid_right)
    following = _add_row(start, left, centre, right, top_left, top, top_right)
    for row in range(first_row, tl.minimum(first_row + rows, height)):
        left, centre, right = _neighbours(
            x, row + 1, height, row_stride, pixel_stride, places, left_mask, mask, right_mask
        )
        out = _add_row(this, left, centre, right, low_left, low, low_right)
        this = _add_row(following, left, centre, right, mid_left, mid, mid_right)
        following = _add_row(start, left, centre, right, top_left, top, top_right)
        if not ADJOINT:
            out = out / (1.0 + tl.exp2(out * -LOG2_E))
        row_of_y = y + row * width.to(tl.int64) * d_inner
        tl.store(row_of_y + targets, out.to(y.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=SIZES)
def depthwise_gradients_kernel(  # type: ignore[no-untyped-def]
    grad_y, x, weight, bias, grad_s, partial, height, width, d_inner, pixel_stride, rows, column_blocks,
    row_blocks,
    CHANNELS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Store g, and the parts of the gradients of the nine taps and of the bias."""
    image, first_row, first_column = _block_of_program(column_blocks, row_blocks, rows, COLUMNS)
    channels, channel_mask, columns, left_mask, mask, right_mask = _columns_of_program(
        first_column, width, d_inner, CHANNELS, COLUMNS
    )
    row_stride = width.to(tl.int64) * pixel_stride
    x += (image * height * width + first_column) * pixel_stride
    first_place = (image * height * width + first_column) * d_inner
    places = columns * pixel_stride + channels[None, :]
    targets = columns * d_inner + channels[None, :]
    top_left, top, top_right = _taps(weight + channels * 9, channel_mask, 0, False)
    mid_left, mid, mid_right = _taps(weight + channels * 9, channel_mask, 1, False)
    low_left, low, low_right = _taps(weight + channels * 9, channel_mask, 2, False)
    start = tl.load(bias + channels, mask=channel_mask, other=0.0)[None, :]
    x0_left, x0, x0_right = _neighbours(
        x, first_row - 1, height, row_stride, pixel_stride, places, left_mask, mask, right_mask
    )
    x1_left, x1, x1_right = _neighbours(
        x, first_row, height, row_stride, pixel_stride, places, left_mask, mask, right_mask
    )
    zero = tl.full((COLUMNS, CHANNELS), 0.0, tl.float32)
    sum0_left, sum0, sum0_right = zero, zero, zero
    sum1_left, sum1, sum1_right = zero, zero, zero
    sum2_left, sum2, sum2_right = zero, zero, zero
    total = zero
    for row in range(first_row, tl.minimum(first_row + rows, height)):
        x2_left, x2, x2_right = _neighbours(
            x, row + 1, height, row_stride, pixel_stride, places, left_mask, mask, right_mask
        )
        s = _add_row(start, x0_left, x0, x0_right, top_left, top, top_right)
        s = _add_row(s, x1_left, x1, x1_right, mid_left, mid, mid_right)
        s = _add_row(s, x2_left, x2, x2_right, low_left, low, low_right)
        sigmoid = 1.0 / (1.0 + tl.exp2(s * -LOG2_E))
        place = first_place + row * width.to(tl.int64) * d_inner
        g = load_tile(grad_y + place + targets, mask) * (sigmoid * (1.0 + s * (1.0 - sigmoid)))
        tl.store(grad_s + place + targets, g.to(grad_s.dtype.element_ty), mask=mask)
        total += g
        sum0_left += g * x0_left
        sum0 += g * x0
        sum0_right += g * x0_right
        sum1_left += g * x1_left
        sum1 += g * x1
        sum1_right += g * x1_right
        sum2_left += g * x2_left
        sum2 += g * x2
        sum2_right += g * x2_right
        x0_left, x0, x0_right = x1_left, x1, x1_right
        x1_left, x1, x1_right = x2_left, x2, x2_right
    sums = (sum0_left, sum0, sum0_right, sum1_left, sum1, sum1_right, sum2_left, sum2, sum2_right, total)
    part = partial + tl.program_id(0).to(tl.int64) * 10 * d_inner + channels
    for tap in tl.static_range(10):
        tl.store(part + tap * d_inner, tl.sum(sums[tap], axis=0), mask=channel_mask)


def depthwise_silu_forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return the output, contiguous, in the dtype of ``x``.

    ``x`` (batch, height, width, channels) is float32, bfloat16 or float16, ``weight`` (channels, 1, 3, 3) and
    ``bias`` are float32. None is empty.
    """
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    _convolve(x, weight.contiguous(), bias.contiguous(), y, adjoint=False)
    return y


def depthwise_silu_backward(
    grad_y: Tensor, x: Tensor, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of ``x``, ``weight`` and ``bias`` from the contiguous one of the output."""
    weight, bias, pixels = weight.contiguous(), bias.contiguous(), evenly_spaced_pixels(x)
    blocks = _Blocks.of(x, GRADIENT_COLUMNS)
    _, height, width, d_inner = x.shape
    grad_s = torch.empty_like(x, memory_format=torch.contiguous_format)
    partial = weight.new_empty(blocks.grid[0], _TAPS + 1, d_inner)
    with device_of(x):
        depthwise_gradients_kernel[blocks.grid](
            grad_y, pixels, weight, bias, grad_s, partial, height, width, d_inner, pixels.stride(0),
            blocks.rows, blocks.column_blocks, blocks.row_blocks, CHANNELS=CHANNELS, COLUMNS=blocks.columns,
            num_warps=1,
        )  # fmt: skip
    grad_x = torch.empty_like(grad_s)
    _convolve(grad_s, weight, bias, grad_x, adjoint=True)
    sums = partial.sum(0)
    return grad_x, sums[:_TAPS].T.contiguous().view(weight.shape), sums[_TAPS].clone()


def _convolve(x: Tensor, weight: Tensor, bias: Tensor, y: Tensor, *, adjoint: bool) -> None:
    blocks, pixels = _Blocks.of(x, FORWARD_COLUMNS), evenly_spaced_pixels(x)
    _, height, width, d_inner = x.shape
    with device_of(x):
        depthwise_kernel[blocks.grid](
            pixels, weight, bias, y, height, width, d_inner, pixels.stride(0), blocks.rows,
            blocks.column_blocks, blocks.row_blocks, CHANNELS=CHANNELS, COLUMNS=blocks.columns,
            ADJOINT=adjoint, num_warps=1,
        )  # fmt: skip
