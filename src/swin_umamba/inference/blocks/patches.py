"""The patches of an image of which only a band is ever in memory, normalized as nnU-Net does a whole one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from swin_umamba.errors import UsageError
from swin_umamba.inference.blocks.statistics import ImageStatistics, finite
from swin_umamba.nnunet.plans_table import CT
from swin_umamba.regions.source import RegionSource
from swin_umamba.tiling.tiles import Tile, moved
from swin_umamba.trained.configuration import Z_SCORE
from swin_umamba.trained.intensities import SMALLEST_DEVIATION, check_overflow, moments_of, z_score
from swin_umamba.trained.preprocessing import COLOURS, NOTHING, RESCALED, normalize_channel

if TYPE_CHECKING:
    from swin_umamba.trained.model_plans import ModelPlans

Box = tuple[slice, slice, slice]
_WITHOUT_STATISTICS = (CT, NOTHING, COLOURS)
Normalize = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Takes numbers ``(z, y, x)`` in the image's dtype and those of the field around them; returns float32."""


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


def normalizers_of(plans: ModelPlans, statistics: ImageStatistics) -> list[Normalize]:
    """Return how each channel of a model's input is normalized.

    Parameters
    ----------
    plans
        The plans of the model.
    statistics
        Those of the image. On the basis ``field``, z-scores take mean and deviation of the field instead.

    Raises
    ------
    UsageError
        If the plans name a scheme that needs the whole image, or is not known.
    """
    names = plans.configuration.normalization_schemes
    masked = plans.configuration.use_mask_for_norm
    one = len(statistics.channels) == 1  # a grey image for a colour model
    return [
        _normalizer(plans, statistics, channel, 0 if one else channel, name, bool(mask))
        for channel, (name, mask) in enumerate(zip(names, masked, strict=True))
    ]


def _normalizer(
    plans: ModelPlans, statistics: ImageStatistics, channel: int, of_image: int, name: str, masked: bool
) -> Normalize:
    known = statistics.channels[of_image]
    if name == Z_SCORE and not masked:
        if statistics.basis == "field":
            return lambda tile, field: z_score(
                tile.astype(np.float32), *moments_of(field).mean_and_deviation()
            )
        return lambda tile, _: z_score(tile.astype(np.float32), known.mean, known.deviation)
    if name == RESCALED:
        span = max(np.float32(known.largest) - np.float32(known.smallest), np.float32(SMALLEST_DEVIATION))
        return lambda tile, _: (tile.astype(np.float32) - np.float32(known.smallest)) / span
    if name in _WITHOUT_STATISTICS:
        intensities = plans.intensities_of(channel)
        return lambda tile, _: _without_statistics(name, tile, intensities)
    raise UsageError(
        f"the model normalizes by {name}{' within a mask' if masked else ''}, which needs the whole image",
        where=plans.model.path,
        hint="predict images that fit into memory, without --blocks",
    )


def _without_statistics(scheme: str, tile: np.ndarray, intensities: Mapping[str, float]) -> np.ndarray:
    values = tile.astype(np.float32)
    normalize_channel(scheme, values, intensities, None)
    return values
