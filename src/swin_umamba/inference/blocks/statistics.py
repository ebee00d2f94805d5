"""What normalizing a large image needs to know of all of it, found strip by strip; whether that is usual."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from swin_umamba.data.tissue import CELL, GREY_LEVELS, TissueRule, grey_of, tells_tissue
from swin_umamba.errors import DataError, UsageError
from swin_umamba.nnunet.plans_table import BACKGROUND_SHARE
from swin_umamba.regions.source import RegionSource
from swin_umamba.trained.intensities import Moments

if TYPE_CHECKING:
    from swin_umamba.trained.model_plans import ModelPlans

logger = logging.getLogger(__name__)

Basis = Literal["image", "tissue", "field"]
"""The pixels whose mean and deviation an image is normalized by."""

Region = tuple[slice, slice, slice]
STRIP_WIDTH = 16 * CELL
MOST_DIFFERENCE = 0.25
"""Fractions of background may differ by so much without a warning."""


@dataclass(frozen=True)
class ChannelStatistics:
    """Statistics of a channel.

    Attributes
    ----------
    mean, deviation
        Of the pixels that count, see ``ImageStatistics``; deviation over n.
    smallest, largest
        Of all pixels.
    """

    mean: float
    deviation: float
    smallest: float
    largest: float


@dataclass(frozen=True)
class ImageStatistics:
    """Statistics of an image, the same however it is read.

    Attributes
    ----------
    basis
        ``image``: every pixel between the first and the last that is not zero along each axis counts, which
        is what nnU-Net keeps of an image. ``tissue``: of those, only cells of tissue.
    box
        First and one after the last such pixel along z, y and x.
    channels
        For each channel.
    tissue
        Which cells of ``CELL`` pixels are of tissue, ``(z, y, x)``, bool; None if that was not asked.
    threshold
        Grey value between background and tissue; None likewise.
    """

    basis: Basis
    box: Region
    channels: tuple[ChannelStatistics, ...]
    tissue: np.ndarray | None
    threshold: int | None

    @property
    def background(self) -> float | None:
        """Fraction of cells without tissue."""
        return None if self.tissue is None else 1 - float(self.tissue.mean())


def statistics_of(
    source: RegionSource,
    basis: Basis,
    *,
    find_tissue: bool = False,
    nonfinite: str = "refuse",
    on_progress: Callable[[float], object] | None = None,
) -> ImageStatistics:
    """Read an image once, twice if tissue is looked for, and return its statistics.

    For what is tissue see ``data.tissue``.

    Parameters
    ----------
    source
        The image.
    basis
        Which pixels count; with ``field`` none of the whole image are needed, see ``normalization``.
    find_tissue
        Whether to look for cells of tissue whatever the basis.
    nonfinite
        Whether to ``refuse`` NaN and infinity, or to take them for ``zero``.
    on_progress
        Called with the fraction read.

    Raises
    ------
    DataError
        If the image holds NaN or infinity, or a part of it is damaged.
    UsageError
        If tissue is looked for in an image that is not of integers of up to 16 bits.
    """
    find_tissue = find_tissue or basis == "tissue"
    assert basis in get_args(Basis), basis
    strips = list(_strips(source))
    total = len(strips) * (2 if find_tissue else 1)
    count = itertools.count(1)

    def read() -> Iterator[tuple[Region, np.ndarray]]:
        for strip in strips:
            yield strip, source.read(*strip)
            if on_progress is not None:
                on_progress(next(count) / total)

    rule = None
    if find_tissue:
        grey = np.zeros(GREY_LEVELS, np.int64)
        for _, pixels in read():
            grey += np.bincount(_grey(source, pixels).ravel(), minlength=GREY_LEVELS)
        rule = TissueRule.of(grey)
    work = _Sums(source, basis, rule)
    for strip, pixels in read():
        work.add(strip, finite(pixels, source, nonfinite))
    return work.statistics()


class _Sums:
    """What is known of the strips read so far."""

    def __init__(self, source: RegionSource, basis: Basis, rule: TissueRule | None) -> None:
        self._source, self._basis, self._rule = source, basis, rule
        channels, *size = source.shape
        self._moments = [Moments.of_dtype(source.dtype) for _ in range(channels)]
        self._extremes = [[np.inf, -np.inf] for _ in range(channels)]
        self._seen = [np.zeros(length, bool) for length in size]
        cells = (size[0], *(-(-length // CELL) for length in size[1:]))
        self._tissue = None if rule is None else np.zeros(cells, bool)

    def add(self, strip: Region, pixels: np.ndarray) -> None:
        z, y, x = strip
        some = (pixels != 0).any(0)
        for axis, part in enumerate(strip):
            others = tuple(other for other in range(3) if other != axis)
            self._seen[axis][part] |= some.any(others)
        for extremes, channel in zip(self._extremes, pixels, strict=True):
            extremes[:] = min(extremes[0], channel.min()), max(extremes[1], channel.max())
        for left in range(0, pixels.shape[3], CELL):
            cell = pixels[:, 0, :, left : left + CELL]
            counts = True
            if self._tissue is not None and self._rule is not None:
                counts = self._rule.is_tissue(_grey(self._source, cell))
                self._tissue[z.start, y.start // CELL, (x.start + left) // CELL] = counts
            if counts or self._basis != "tissue":
                for moments, values in zip(self._moments, cell, strict=True):
                    moments.add(values)

    def statistics(self) -> ImageStatistics:
        ends = [np.flatnonzero(seen)[[0, -1]] if seen.any() else (0, len(seen) - 1) for seen in self._seen]
        box = tuple(slice(int(first), int(last) + 1) for first, last in ends)
        inside = int(np.prod([each.stop - each.start for each in box]))
        only_tissue = self._basis == "tissue"
        if only_tissue and self._tissue is not None and not self._tissue.any():
            raise DataError(
                "there is no tissue in the image, by the rule of --statistics tissue",
                where=self._source.path,
                hint="give --statistics image",
            )
        found = [moments.mean_and_deviation(None if only_tissue else inside) for moments in self._moments]
        channels = tuple(
            ChannelStatistics(mean, deviation, float(low), float(high))
            for (mean, deviation), (low, high) in zip(found, self._extremes, strict=True)
        )
        z, y, x = box
        threshold = None if self._rule is None else self._rule.threshold
        return ImageStatistics(self._basis, (z, y, x), channels, self._tissue, threshold)


def finite(pixels: np.ndarray, source: RegionSource, nonfinite: str) -> np.ndarray:
    """Return pixels without NaN and infinity, or refuse them."""
    if pixels.dtype.kind != "f" or np.isfinite([pixels.min(), pixels.max()]).all():
        return pixels
    if nonfinite == "refuse":
        raise DataError(
            "the image holds NaN or infinity", where=source.path, hint="take them for zero: --nonfinite zero"
        )
    return np.where(np.isfinite(pixels), pixels, pixels.dtype.type(0))


def _strips(source: RegionSource) -> Iterator[Region]:
    """Yield strips of whole cells, from the first pixel to the last."""
    _, depth, height, width = source.shape
    for number in range(depth):
        for top in range(0, height, CELL):
            for left in range(0, width, STRIP_WIDTH):
                lines = slice(top, min(top + CELL, height))
                yield slice(number, number + 1), lines, slice(left, min(left + STRIP_WIDTH, width))


def _grey(source: RegionSource, pixels: np.ndarray) -> np.ndarray:
    if not tells_tissue(pixels.dtype):
        raise UsageError(
            f"tissue can be told from background in images of 8 or 16 bits, and this one is {pixels.dtype}",
            where=source.path,
            hint="give --statistics image, and leave out --tissue",
        )
    return grey_of(pixels)


def tells_background(plans: ModelPlans, source: RegionSource, basis: Basis) -> bool:
    """Return whether the background of an image is to be compared with that of the training images.

    It matters where the image's own mean and deviation normalize it. Models planned by older versions and by
    nnU-Net itself do not say how much background they have seen.
    """
    known = _share_in_training(plans) is not None and bool(plans.configuration.z_scored_channels)
    return known and basis != "field" and tells_tissue(source.dtype)


def warn_of_background(plans: ModelPlans, source: RegionSource, statistics: ImageStatistics) -> None:
    """Warn if the statistics of an image are over far more or far less background than in training."""
    share, found = _share_in_training(plans), statistics.background
    if share is None or found is None or not tells_background(plans, source, statistics.basis):
        return
    counted = found if statistics.basis == "image" else 0.0
    if abs(counted - share) <= MOST_DIFFERENCE:
        return
    other = "tissue" if statistics.basis == "image" else "image"
    better = abs((0.0 if other == "tissue" else found) - share) < abs(counted - share)
    advice = {
        "tissue": ": try --statistics tissue, which leaves the background out",
        "image": f": try --statistics image, of which {found:.0%} are background",
    }
    logger.warning(
        "%s: of the pixels whose mean and deviation normalize the image, %.0f %% are background, in training "
        "%.0f %% were; the model sees other values than it has learnt%s",
        source.path or "the image",
        100 * counted,
        100 * share,
        advice[other] if better else "",
    )


def _share_in_training(plans: ModelPlans) -> float | None:
    share = plans.model.plans.get(BACKGROUND_SHARE)
    return None if share is None else float(share)
