"""The layer norm of each pixel times a gate, and its gradients.

    y^ = (y - mean) / sqrt(variance + eps),    out = (weight y^ + bias) silu(z)

A program takes one pixel after the other and keeps the parameters in registers, as it does the sums over its
pixels that make up their gradients. The backward computes mean and variance anew instead of reading them.
All sums are float32; the parts of the parameters' gradients are added up in the order of the programs.
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

_MOST_PIXELS = 256  # of a program
_CHANNELS_PER_WARP = 256


@dataclass(frozen=True)
class _Programs:
    """The pixels and padded channels of a program, its warps, and the number of programs."""

    pixels: int
    channels: int
    warps: int
    count: int

    @classmethod
    def of(cls, pixels: Tensor) -> _Programs:
        """Divide pixels (pixels, channels) among programs."""
        length, channels = pixels.shape
        block = triton.next_power_of_2(channels)
        warps = min(8, max(1, block // _CHANNELS_PER_WARP))
        enough = launch_settings(pixels.device).enough_warps
        each = chunk_steps(warps, length, enough, 1, _MOST_PIXELS)
        return cls(each, block, warps, triton.cdiv(length, each))


@triton.jit
def _normed(y, channel_mask, d_inner, eps):  # type: ignore[no-untyped-def]
    """Return the normed channels of a pixel, zero beyond the last one, and 1 / sqrt(variance + eps)."""
    mean = tl.sum(y, axis=0) / d_inner
    centred = tl.where(channel_mask, y - mean, 0.0)
    scale = tl.rsqrt(tl.sum(centred * centred, axis=0) / d_inner + eps)
    return centred * scale, scale


@triton.jit(do_not_specialize=(*SIZES, "eps"))
def gated_norm_kernel(  # type: ignore[no-untyped-def]
    y, z, weight, bias, out, length, d_inner, y_stride, z_stride, steps, eps, CHANNELS: tl.constexpr
):
    """Process ``steps`` pixels."""
    channels = tl.arange(0, CHANNELS)
    channel_mask = channels < d_inner
    scales = tl.load(weight + channels, mask=channel_mask, other=0.0)
    shifts = tl.load(bias + channels, mask=channel_mask, other=0.0)
    first = tl.program_id(0).to(tl.int64) * steps
    y += first * y_stride
    z += first * z_stride
    out += first * d_inner
    for _ in range(tl.minimum(steps, length - first)):
        gate = load_tile(z + channels, channel_mask)
        normed, _ = _normed(load_tile(y + channels, channel_mask), channel_mask, d_inner, eps)
        product = (normed * scales + shifts) * (gate / (1.0 + tl.exp2(gate * -LOG2_E)))
        tl.store(out + channels, product.to(out.dtype.element_ty), mask=channel_mask)
        y += y_stride
        z += z_stride
        out += d_inner


@triton.jit(do_not_specialize=(*SIZES, "eps"))
def gated_norm_gradients_kernel(  # type: ignore[no-untyped-def]
    grad_out, y, z, weight, bias, grad_y, grad_z, partial, length, d_inner, y_stride, z_stride, steps, eps,
    CHANNELS: tl.constexpr,
):  # fmt: skip
    """Process ``steps`` pixels, and store their part of the gradients of weight and bias."""
    channels = tl.arange(0, CHANNELS)
    channel_mask = channels < d_inner
    scales = tl.load(weight + channels, mask=channel_mask, other=0.0)
    shifts = tl.load(bias + channels, mask=channel_mask, other=0.0)
    grad_scales = tl.full((CHANNELS,), 0.0, tl.float32)
    grad_shifts = tl.full((CHANNELS,), 0.0, tl.float32)
    first = tl.program_id(0).to(tl.int64) * steps
    y += first * y_stride
    z += first * z_stride
    place = first * d_inner + channels
    for _ in range(tl.minimum(steps, length - first)):
        grad = load_tile(grad_out + place, channel_mask)
        gate = load_tile(z + channels, channel_mask)
        normed, scale = _normed(load_tile(y + channels, channel_mask), channel_mask, d_inner, eps)
        sigmoid = 1.0 / (1.0 + tl.exp2(gate * -LOG2_E))
        slope = sigmoid * (1.0 + gate * (1.0 - sigmoid))
        grad_gate = grad * (normed * scales + shifts) * slope
        tl.store(grad_z + place, grad_gate.to(grad_z.dtype.element_ty), mask=channel_mask)
        grad_affine = grad * gate * sigmoid
        grad_scales += grad_affine * normed
        grad_shifts += grad_affine
        grad_normed = grad_affine * scales
        along_mean = tl.sum(grad_normed, axis=0) / d_inner
        along_scale = tl.sum(grad_normed * normed, axis=0) / d_inner
        grad_pixel = scale * (grad_normed - along_mean - normed * along_scale)
        tl.store(grad_y + place, grad_pixel.to(grad_y.dtype.element_ty), mask=channel_mask)
        y += y_stride
        z += z_stride
        place += d_inner
    part = partial + tl.program_id(0).to(tl.int64) * 2 * d_inner + channels
    tl.store(part, grad_scales, mask=channel_mask)
    tl.store(part + d_inner, grad_shifts, mask=channel_mask)


def gated_norm_forward(y: Tensor, z: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Return the output, contiguous, in the dtype of ``z``.

    ``y`` and ``z`` (batch, height, width, channels) are float32, bfloat16 or float16, ``weight`` and ``bias``
    float32. None is empty.
    """
    out = torch.empty_like(z, memory_format=torch.contiguous_format)
    y, z = evenly_spaced_pixels(y), evenly_spaced_pixels(z)
    programs = _Programs.of(y)
    with device_of(y):
        gated_norm_kernel[(programs.count,)](
            y, z, weight.contiguous(), bias.contiguous(), out, *y.shape, y.stride(0), z.stride(0),
            programs.pixels, eps, CHANNELS=programs.channels, num_warps=programs.warps,
        )  # fmt: skip
    return out


def gated_norm_backward(
    grad_out: Tensor, y: Tensor, z: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of ``y``, ``z``, ``weight`` and ``bias`` from the contiguous one of the output."""
    grad_y, grad_z = (torch.empty_like(each, memory_format=torch.contiguous_format) for each in (y, z))
    y, z = evenly_spaced_pixels(y), evenly_spaced_pixels(z)
    programs = _Programs.of(y)
    partial = weight.new_empty(programs.count, 2, y.shape[1])
    with device_of(y):
        gated_norm_gradients_kernel[(programs.count,)](
            grad_out, y, z, weight.contiguous(), bias.contiguous(), grad_y, grad_z, partial, *y.shape,
            y.stride(0), z.stride(0), programs.pixels, eps, CHANNELS=programs.channels,
            num_warps=programs.warps,
        )  # fmt: skip
    sums = partial.sum(0)
    return grad_y, grad_z, sums[0].clone(), sums[1].clone()
