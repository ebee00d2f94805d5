"""Sizes of the kernels' tiles, and the device they run on."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

CHUNK = 16
"""Time steps of a chunk of the backward: a tile in the registers of one thread. Twice as many spill; half as
many double the memory of the states between chunks, which at d_state 16 take as much as four activations."""

SIZES = ("height", "width", "length", "chunks", "steps", "dt_rank")
"""Arguments that Triton must not turn into constants or tell apart by their divisors: another size of image
would compile all kernels again."""

MOST_OFFSET = 2**31 - 1
"""Within an image; beyond it, offsets are 64 bits wide."""

_WARP = 32
_MOST_STEPS = 256  # of a chunk of the forward
_ENOUGH_PROGRAMS = 1536  # of one warp: twelve for each multiprocessor of a large GPU
_MOST_CHANNELS = 128


def forward_steps(programs: int, length: int) -> int:
    """Return the time steps of a chunk of the forward: as many as leave the GPU enough to do at once.

    The longer the chunks, the fewer states go through memory, and the shorter is the chain of chunks, which
    runs one after another. ``programs`` is the number of programs for each chunk.
    """
    steps = CHUNK
    while steps < _MOST_STEPS and programs * length >= 2 * steps * _ENOUGH_PROGRAMS:
        steps *= 2
    return steps


@dataclass(frozen=True)
class TimeLoop:
    """The channels and the padded states of a program that loops over time, and its warps.

    With two channels for each thread, both share the loads of B and C. More than 16 states leave no registers
    for a second channel; few need more warps to keep the memory busy, and one channel for each thread.
    """

    channels: int
    states: int
    warps: int

    @classmethod
    def of(cls, channels: int, d_state: int) -> TimeLoop:
        """Return the sizes for so many channels, in all or in a group."""
        states = 1 << (d_state - 1).bit_length()
        block = 2 * _WARP if channels > _WARP and states <= 16 else _WARP
        return cls(block, states, block // _WARP if states <= 4 else 1)


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
