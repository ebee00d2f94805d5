"""Normalize tiles of a large image as nnU-Net normalizes a whole one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from swin_umamba.errors import UsageError
from swin_umamba.inference.blocks.statistics import ImageStatistics
from swin_umamba.nnunet.plans_table import CT
from swin_umamba.trained.configuration import Z_SCORE
from swin_umamba.trained.intensities import SMALLEST_DEVIATION, moments_of, z_score
from swin_umamba.trained.preprocessing import COLOURS, NOTHING, RESCALED, normalize_channel

if TYPE_CHECKING:
    from swin_umamba.trained.model_plans import ModelPlans

_WITHOUT_STATISTICS = (CT, NOTHING, COLOURS)
Normalize = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Takes numbers ``(z, y, x)`` in the image's dtype and those of the field around them; returns float32."""


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
