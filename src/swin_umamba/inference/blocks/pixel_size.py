"""The size of an image's pixels against that of the model's."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from swin_umamba.errors import UsageError
from swin_umamba.regions.source import RegionSource

if TYPE_CHECKING:
    from swin_umamba.inference.predictor import Predictor

MOST_DIFFERENCE = 0.1
"""Pixels may be so much larger or smaller than the model's."""


def check_pixel_size(predictor: Predictor, source: RegionSource) -> None:
    """Refuse an image whose pixels are not those of the model; images in blocks are not resampled.

    Raises
    ------
    UsageError
        Their sizes differ by more than 10 %.
    """
    plans = predictor.plans
    if plans.counts_pixels or source.spacing is None:
        return
    own, found = plans.own_spacing(source.flat), source.spacing
    axes = range(3) if len(plans.configuration.spacing) == 3 else (1, 2)
    ratios = [found[axis] / own[axis] for axis in axes]
    if all(abs(math.log(ratio)) <= math.log(1 + MOST_DIFFERENCE) for ratio in ratios):
        return
    levels = ", ".join(
        f"{number}: {found[2] * level.downsample[2] / source.levels[source.level].downsample[2]:.4g} mm"
        for number, level in enumerate(source.levels)
    )
    raise UsageError(
        f"a pixel of the image is {found[1]:.4g} x {found[2]:.4g} mm, the model's {own[1]:.4g} x "
        f"{own[2]:.4g} mm; images in blocks are not resampled",
        where=source.path,
        hint=f"choose the level that fits with --level ({levels}), or resample the image",
    )
