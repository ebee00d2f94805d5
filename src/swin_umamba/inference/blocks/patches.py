"""The patches of an image of which only a band is ever in memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from swin_umamba.inference.blocks.normalization import Normalize
from swin_umamba.inference.blocks.statistics import finite
from swin_umamba.regions.source import RegionSource
from swin_umamba.tiling.tiles import Tile, moved
from swin_umamba.trained.intensities import check_overflow

Box = tuple[slice, slice, slice]


class SourcePatches:
    """The normalized patches of a part of a source.

    Parameters
    ----------
    source
        The image.
    box
        The part of it that counts as the image, in (Z, Y, X): what is left when zeros around it are gone.
    normalizers
        How each channel is normalized.
    field_size
        Rows and columns around a tile's middle that its normalization takes into account, at least the tile;
        None for none.
    nonfinite
        Whether to ``refuse`` NaN and infinity, or to take them for ``zero``.
    """

    def __init__(
        self,
        source: RegionSource,
        box: Box,
        normalizers: Sequence[Normalize],
        field_size: tuple[int, int] | None = None,
        nonfinite: str = "refuse",
    ) -> None:
        self._source, self._box, self._normalizers = source, box, normalizers
        self._field_size, self._nonfinite = field_size, nonfinite
        z, y, x = (each.stop - each.start for each in box)
        self.image_size = (z, y, x)
        self._pixels = np.empty((0, 0, 0, 0))
        self._origin = (0, 0, 0)

    def prepare(self, tiles: Sequence[Tile]) -> None:
        """Read the rectangle around these tiles."""
        boxes = [self._field(tile) for tile in tiles]
        around = [
            slice(min(box[axis].start for box in boxes), max(box[axis].stop for box in boxes))
            for axis in range(3)
        ]
        z, y, x = (moved(part, whole.start) for part, whole in zip(around, self._box, strict=True))
        self._pixels = finite(self._source.read(z, y, x), self._source, self._nonfinite)
        self._origin = (around[0].start, around[1].start, around[2].start)

    def patch(self, tile: Tile, patch_size: Sequence[int]) -> Tensor:
        """Return the patch ``(channels, *patch_size)`` of a tile."""
        own, field = self._at_hand(tile.box), self._at_hand(self._field(tile))
        channels = range(len(own)) if len(own) == len(self._normalizers) else [0] * len(self._normalizers)
        values = np.stack(
            [
                normalize(own[channel], field[channel])
                for channel, normalize in zip(channels, self._normalizers, strict=True)
            ]
        )
        check_overflow(values, own, self._source.path)
        part = torch.from_numpy(values[:, 0] if len(patch_size) == 2 else values)
        return tile.padded(part, patch_size)

    def on_cpu(self) -> SourcePatches:
        """Return itself: it has never been anywhere else."""
        return self

    def _at_hand(self, box: Box) -> np.ndarray:
        z, y, x = (moved(part, -first) for part, first in zip(box, self._origin, strict=True))
        return self._pixels[:, z, y, x]

    def _field(self, tile: Tile) -> Box:
        """Return the part of the image that normalizing a tile needs."""
        if self._field_size is None:
            return tile.box
        z, *others = tile.box
        y, x = (
            _around(part, size, length)
            for part, size, length in zip(others, self._field_size, self.image_size[1:], strict=True)
        )
        return z, y, x


def _around(part: slice, size: int, length: int) -> slice:
    """Return ``size`` pixels of an axis around the middle of a part, which they contain, moved inside."""
    size = min(max(size, part.stop - part.start), length)
    first = (part.start + part.stop - size) // 2
    first = min(max(first, 0), length - size)
    return slice(first, first + size)
