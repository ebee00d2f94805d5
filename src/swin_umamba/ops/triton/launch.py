"""Sizes of the kernels' tiles, and the device that they run on."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

CHUNK = 16
"""Time steps of a tile, in the registers of one thread. Twice as many spill in the backward; half as many
double the memory of the saved states, which at d_state 16 take as much as four activations."""

_WARP = 32
_MOST_CHANNELS = 128


def chunk_count(length: int) -> int:
    """Chunks of a sequence, and so the saved states of each channel."""
    return -(-length // CHUNK)


def channel_block(channels: int) -> int:
    """Channels of a tile: as many as possible, for each block leaves partial gradients of B and C to add up.

    192 channels are three blocks of 64; two of 128 would compute a quarter in vain.
    """
    if channels >= _MOST_CHANNELS:
        return _MOST_CHANNELS if channels % _MOST_CHANNELS == 0 else _MOST_CHANNELS // 2
    return max(_WARP, 1 << (channels - 1).bit_length())


def warps_of(block: int) -> int:
    """Warps of a program whose tile has so many channels: one channel a thread."""
    return block // _WARP


def device_of(tensor: Tensor) -> AbstractContextManager[object]:
    """Context that launches kernels on the tensor's own device; the interpreter needs none."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()


def needs_wide_offsets(*images: Tensor) -> bool:
    """Whether an offset within one image of a batch does not fit into 32 bits."""
    return any(image[0].numel() + CHUNK * image.shape[-1] >= 2**31 for image in images)


def or_any(tensor: Tensor | None, other: Tensor) -> Tensor:
    """Return the tensor, or if there is none any other: a kernel that is told so never reads it."""
    return other if tensor is None else tensor
