"""How much of an image is background, against the model's training images."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from swin_umamba.data.tissue import tells_tissue
from swin_umamba.inference.blocks.statistics import Basis, ImageStatistics
from swin_umamba.nnunet.plans_table import BACKGROUND_SHARE
from swin_umamba.regions.source import RegionSource

if TYPE_CHECKING:
    from swin_umamba.trained.model_plans import ModelPlans

logger = logging.getLogger(__name__)

MOST_DIFFERENCE = 0.25
"""Fractions of background may differ by so much without a warning."""


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
    logger.warning(
        "%s: the mean and deviation that normalize the image are over %.0f %% of background, those of the "
        "training images over %.0f %%; the model sees other values than it has learnt%s",
        source.path or "the image",
        100 * counted,
        100 * share,
        f": try --statistics {other}, of {found:.0%} in the image" if better else "",
    )


def _share_in_training(plans: ModelPlans) -> float | None:
    share = plans.model.plans.get(BACKGROUND_SHARE)
    return None if share is None else float(share)
