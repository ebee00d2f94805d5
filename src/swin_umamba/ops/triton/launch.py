"""Sizes of the kernels' tiles, and the device they run on."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from swin_umamba.ops.launch_settings import LaunchSettings

CHUNK = 8
"""Time steps of a tile of the backward, in the registers of one thread for each of two channels. Twice as
many spill; half as many double the memory of the states between tiles."""

SIZES = (
    "height",
    "width",
    "length",
    "chunks",
    "steps",
    "parts",
    "dt_rank",
    "rows",
    "column_blocks",
    "row_blocks",
)
"""Arguments that Triton must not turn into constants or tell apart by their divisors: another size of image
would compile all kernels again."""

MOST_OFFSET = 2**31 - 1
"""Within an image; beyond it, offsets are 64 bits wide."""

_WARP = 32
_LEAST_STEPS, _MOST_STEPS = 16, 256  # of a chunk of the time loop
_STATES_IN_REGISTERS = 16  # with two channels for each thread, and whatever the settings say of registers
# With 64 states, the outputs spill 112 to 136 bytes a thread on capabilities 7.5 and 8.0, and nothing on 9.0.
# With 32 they spill nothing; nor do the gradients, which loop over the states, with 16, 32 or 64. Two passes
# of 32 would compute the step sizes twice, for a number of states that no network here has.


def chunk_steps(
    warps: int, length: int, enough: int, least: int = _LEAST_STEPS, most: int = _MOST_STEPS
) -> int:
    """Return the time steps of a chunk of the time loop: as many as leave the GPU enough to do at once.

    The longer the chunks, the fewer states go through memory, and the shorter is the chain of chunks, which
    runs one after another. ``warps`` is the number of them for each chunk, and ``enough`` in all.
    """
    steps = least
    while steps < most and warps * length >= 2 * steps * enough:
        steps *= 2
    return steps


def registers(limit: int | None, d_state: int) -> int | None:
    """Return the limit of a thread's registers, ``maxnreg``: many states need all that there are."""
    return limit if d_state <= _STATES_IN_REGISTERS else None


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
    def of(cls, channels: int, d_state: int, settings: LaunchSettings) -> TimeLoop:
        """Return the sizes for so many channels, in all or in a group."""
        states = padded(d_state)
        if channels <= _WARP or states > _STATES_IN_REGISTERS:
            return cls(_WARP, states, 1)
        if states <= 4:
            return cls(2 * _WARP, states, 2)
        warps = settings.loop_warps
        while warps > 1 and channels <= _WARP * warps:
            warps //= 2
        return cls(2 * _WARP * warps, states, warps)

    def warps_at_once(self, sequences: int, channels: int) -> int:
        """Return the warps for each chunk, of so many sequences of such channels."""
        # With few states every thread has one channel, and half the warps do the same work.
        warps = self.warps if self.states > 4 else 1
        return sequences * -(-channels // self.channels) * warps

    def chunk_steps(self, sequences: int, channels: int, length: int, settings: LaunchSettings) -> int:
        """Return the steps of a chunk, for so many sequences of such channels."""
        return chunk_steps(self.warps_at_once(sequences, channels), length, settings.enough_warps)


def padded(number: int) -> int:
    """Return the least power of two that is not below; 1 for 0."""
    return 1 << max(number - 1, 0).bit_length()


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


def evenly_spaced_pixels(image: Tensor) -> Tensor:
    """Return all pixels (pixels, channels) of images, with the channels of each side by side.

    A part of the channels of a contiguous tensor is not copied.
    """
    pixels = image.flatten(0, 2)
    return pixels if pixels.stride(1) == 1 else pixels.contiguous()
