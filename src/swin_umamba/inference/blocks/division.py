"""Divide a label map into blocks: rectangles of whole chunks that one process predicts on its own."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

MAX_BLOCK_PIXELS = 2**26
"""Most pixels of a block's label map, which is in memory until it is written."""
MAX_BAND_BYTES = 2**28
"""Most bytes of the sums over a band of tiles."""
STEPS_IN_BLOCK = 12
"""Least height of a block in distances of tiles; it predicts about one row of the block above again."""


@dataclass(frozen=True)
class Block:
    """A part of a label map.

    Attributes
    ----------
    number
        Counted from 0.
    z, y, x
        First pixel and one after the last along each axis.
    """

    number: int
    z: tuple[int, int]
    y: tuple[int, int]
    x: tuple[int, int]

    def __str__(self) -> str:
        return f"block {self.number}"

    @property
    def region(self) -> tuple[slice, slice, slice]:
        """The block as an index."""
        return slice(*self.z), slice(*self.y), slice(*self.x)


def blocks_of(
    size: Sequence[int],
    unit: Sequence[int],
    patch_size: Sequence[int],
    step_size: float,
    bytes_per_pixel: int,
    parts: int,
) -> list[Block]:
    """Divide a label map into blocks, from its first pixel to its last.

    Blocks are as high as they may be, so that few tiles are predicted twice, and as wide as the image where
    the sums over a band of tiles are small enough.

    Parameters
    ----------
    size
        ``(Z, Y, X)``.
    unit
        Smallest block along z, y and x: what is written at once.
    patch_size, step_size
        Of the sliding window.
    bytes_per_pixel
        Bytes of all sums of a pixel.
    parts
        How many blocks are wanted, so that each process has some.
    """
    planar = len(patch_size) == 2
    along, patch = (1, patch_size[0]) if planar else (0, patch_size[0])
    row = MAX_BAND_BYTES / (bytes_per_pixel * 2 * patch)
    extents = [size[0], size[1], _units(row, unit[2])]
    if planar:
        extents[0] = unit[0]
    else:
        extents[1:] = [_units(math.sqrt(row), each) for each in unit[1:]]
    extents = [min(extent, length) for extent, length in zip(extents, size, strict=True)]
    others = [axis for axis in range(3) if axis != along]
    columns = math.prod(math.ceil(size[axis] / extents[axis]) for axis in others)
    high = max(size[along] * columns / parts, STEPS_IN_BLOCK * step_size * patch)
    high = min(high, MAX_BLOCK_PIXELS / math.prod(extents[axis] for axis in others))
    extents[along] = _units(high, unit[along])
    starts = (range(0, length, extent) for length, extent in zip(size, extents, strict=True))
    return [
        Block(
            number,
            *(
                (first, min(first + extent, length))
                for first, extent, length in zip(corner, extents, size, strict=True)
            ),
        )
        for number, corner in enumerate(itertools.product(*starts))
    ]


def _units(length: float, unit: int) -> int:
    """Return the largest multiple of a unit up to a length, at least one."""
    return max(int(length) // unit, 1) * unit
