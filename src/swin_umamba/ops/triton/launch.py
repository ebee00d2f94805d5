"""Sizes of the kernels' tiles, and the device they run on."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

CHUNK = 16
"""Time steps of a tile, in the registers of one thread. Twice as many spill in the backward; half as many
double the memory of the saved states, which at d_state 16 take as much as four activations."""

SIZES = ("height", "width", "length", "chunks")
"""Arguments that Triton must not turn into constants or tell apart by their divisors: another size of image
would compile all kernels again."""

MOST_OFFSET = 2**31 - 1
"""Within an image; beyond it, offsets are 64 bits wide."""

_WARP = 32
_MOST_CHANNELS = 128


def chunk_count(length: int) -> int:
    """Return the number of chunks of a sequence, and so of the saved states of each channel."""
    return -(-length // CHUNK)


def channel_block(channels: int) -> int:
    """Return the channels of a tile: as many as possible, as each block adds partial gradients of B and C.

    192 channels make three blocks of 64; in two of 128, a quarter of the computation would be wasted.
    """
    if channels >= _MOST_CHANNELS:
        return _MOST_CHANNELS if channels % _MOST_CHANNELS == 0 else _MOST_CHANNELS // 2
    return max(_WARP, 1 << (channels - 1).bit_length())


def warps_of(block: int) -> int:
    """Return the warps of a program for a tile of ``block`` channels: one channel per thread."""
    return block // _WARP


def device_of(tensor: Tensor) -> AbstractContextManager[object]:
    """Return a context that launches kernels on the tensor's own device; the interpreter needs none."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()


def needs_wide_offsets(*images: Tensor) -> bool:
    """Return whether an offset within one image of a batch does not fit into 32 bits."""
    return any(image[0].numel() + CHUNK * image.shape[-1] > MOST_OFFSET for image in images)


def or_any(tensor: Tensor | None, other: Tensor) -> Tensor:
    """Return the tensor or, if there is none, another one, which a kernel that is told so never reads."""
    return other if tensor is None else tensor
