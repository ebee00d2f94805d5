"""The size of an image's pixels against that of the model's."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING

from swin_umamba.errors import UsageError
from swin_umamba.regions.opening import open_region_source
from swin_umamba.regions.source import RegionSource

if TYPE_CHECKING:
    from swin_umamba.inference.predictor import Predictor

logger = logging.getLogger(__name__)

MOST_DIFFERENCE = 0.1
"""Pixels may be so much larger or smaller than the model's."""


def nearest_level(predictor: Predictor, path: Path, series: str | None) -> int:
    """Return the level of a pyramid whose pixels are nearest in size to the model's.

    Raises
    ------
    UsageError
        The size of the image's or the model's pixels is not known.
    """
    with open_region_source(path, 0, series) as source:
        sizes = _sizes(predictor, source)
        if sizes is None:
            whose = "model's" if predictor.plans.counts_pixels else "image's"
            raise UsageError(
                f"the size of the {whose} pixels is not known, so that no level can be chosen by it",
                where=path,
                hint="give the level: --level",
            )
        level = min(range(len(source.levels)), key=lambda number: _difference(sizes, source, number))
    logger.info("%s: level %d is nearest in size to the model's pixels", path, level)
    return level


def check_pixel_size(predictor: Predictor, source: RegionSource) -> None:
    """Refuse an image whose pixels are not those of the model; images in blocks are not resampled.

    Raises
    ------
    UsageError
        Their sizes differ by more than 10 %.
    """
    sizes = _sizes(predictor, source)
    if sizes is None or _difference(sizes, source, source.level) <= math.log(1 + MOST_DIFFERENCE):
        return
    own, found = predictor.plans.own_spacing(source.flat), source.spacing
    assert found is not None
    levels = ", ".join(
        f"{number}: {found[2] * level.downsample[2] / source.levels[source.level].downsample[2]:.4g} mm"
        for number, level in enumerate(source.levels)
    )
    several = len(source.levels) > 1
    raise UsageError(
        f"a pixel of the image is {found[1]:.4g} x {found[2]:.4g} mm, the model's {own[1]:.4g} x "
        f"{own[2]:.4g} mm; images in blocks are not resampled",
        where=source.path,
        hint=f"choose the level that fits with --level or --rescale ({levels}), or resample the image"
        if several
        else "resample the image, or predict it without blocks if it fits into memory",
    )


def _sizes(predictor: Predictor, source: RegionSource) -> list[tuple[int, float]] | None:
    """Return axes, and the size of the image's pixels over that of the model's; None if one is not known."""
    plans = predictor.plans
    if plans.counts_pixels or source.spacing is None:
        return None
    own = plans.own_spacing(source.flat)
    axes = range(3) if len(plans.configuration.spacing) == 3 else (1, 2)
    return [(axis, source.spacing[axis] / own[axis]) for axis in axes]


def _difference(sizes: list[tuple[int, float]], source: RegionSource, level: int) -> float:
    """Return by how much pixels of a level differ from the model's: the largest logarithm of all axes."""
    there, here = source.levels[level].downsample, source.levels[source.level].downsample
    return max(abs(math.log(ratio * there[axis] / here[axis])) for axis, ratio in sizes)
