"""Sizes of the kernels' tiles, and the device they run on."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

CHUNK = 8
"""Time steps of a tile of the backward, in the registers of one thread for each of two channels. Twice as
many spill; half as many double the memory of the states between tiles."""

SIZES = ("height", "width", "length", "chunks", "steps", "parts", "dt_rank")
"""Arguments that Triton must not turn into constants or tell apart by their divisors: another size of image
would compile all kernels again."""

MOST_REGISTERS = 168
"""Of a kernel that would take many more just for addresses: so many leave 12 warps to a multiprocessor."""

MOST_OFFSET = 2**31 - 1
"""Within an image; beyond it, offsets are 64 bits wide."""

_WARP = 32
_LEAST_STEPS, _MOST_STEPS = 16, 256  # of a chunk of the time loop
_ENOUGH_PROGRAMS = 1536  # of one warp: twelve for each multiprocessor of a large GPU


def chunk_steps(programs: int, length: int) -> int:
    """Return the time steps of a chunk of the time loop: as many as leave the GPU enough to do at once.

    The longer the chunks, the fewer states go through memory, and the shorter is the chain of chunks, which
    runs one after another. ``programs`` is the number of programs for each chunk.
    """
    steps = _LEAST_STEPS
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
    """Return the channels of a tile of the backward: two for each thread of a single warp.

    They are added up in the thread before the sums over channels pass numbers between threads, and no sum
    passes them between warps.
    """
    return 2 * _WARP if channels > _WARP else _WARP


def device_of(tensor: Tensor) -> AbstractContextManager[object]:
    """Return a context that launches kernels on the tensor's own device; the interpreter needs none."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()


def needs_wide_offsets(*images: Tensor) -> bool:
    """Return whether an offset within one image of a batch does not fit into 32 bits."""
    return any(image[0].numel() + CHUNK * image.shape[-1] > MOST_OFFSET for image in images)


def or_any(tensor: Tensor | None, other: Tensor) -> Tensor:
    """Return the tensor or, if there is none, another one, which a kernel that is told so never reads."""
    return other if tensor is None else tensor
