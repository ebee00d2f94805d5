"""The confidence of a prediction: the entropy of every pixel, and an estimate of the case's Dice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from swin_umamba.confidence.case_quality import estimated_dice, mean_of_known
from swin_umamba.confidence.members import MemberDecisions, agreement
from swin_umamba.confidence.temperature import entropy


@dataclass(frozen=True)
class Confidence:
    """Confidence of a prediction.

    Attributes
    ----------
    entropy
        float32, in the shape of the labels: 0 where one class is certain, 1 where all are equally likely. For
        regions, the mean over them.
    class_agreement
        Agreement of the ensemble members (views times folds) on each class, 0 to 1: the Dice between two of
        them; None for a class that no member finds.
    class_quality
        Estimated Dice of each class: the agreement to the power of ``quality_exponent``. Without a
        calibration it tends to be too high, since members also make the same mistakes.
    quality
        Mean of ``class_quality``; None if no member finds anything, or there is only one member.
    num_members
        Number of ensemble members: views times folds.
    temperature
        Divisor of the logits before the entropy; 1 without a calibration.
    quality_exponent
        See ``class_quality``; 1 without a calibration.
    calibrated
        Whether the temperature comes from a calibration of these weights.
    quality_calibrated
        Whether the exponent does.
    """

    entropy: np.ndarray
    class_agreement: Mapping[str, float | None]
    class_quality: Mapping[str, float | None]
    quality: float | None
    num_members: int
    temperature: float
    quality_exponent: float
    calibrated: bool
    quality_calibrated: bool


def estimate_confidence(
    probabilities: np.ndarray,
    members: MemberDecisions,
    *,
    classes: Sequence[str],
    has_regions: bool,
    temperature: float | None,
    quality_exponent: float | None,
) -> Confidence:
    """Combine the probabilities and the decisions of the ensemble members.

    Parameters
    ----------
    probabilities
        ``(classes, ...)`` on the grid of the image.
    members
        Decisions of the ensemble members.
    classes
        Names of the foreground classes, or of the regions, in the order of the network's outputs.
    has_regions
        Whether they are regions, which may overlap.
    temperature, quality_exponent
        Values of the model's calibration; None if there is none.
    """
    decisions = members.stacked()
    agreed: list[float | None] = [None] * len(classes)
    if len(decisions) > 1:
        agreed = agreement(decisions, len(classes) + (not has_regions))
    exponent = 1.0 if quality_exponent is None else quality_exponent
    class_agreement = dict(zip(classes, agreed, strict=True))
    class_quality = estimated_dice(class_agreement, exponent)
    return Confidence(
        entropy=entropy(probabilities, temperature or 1.0, independent=has_regions),
        class_agreement=class_agreement,
        class_quality=class_quality,
        quality=mean_of_known(class_quality.values()),
        num_members=len(decisions),
        temperature=temperature or 1.0,
        quality_exponent=exponent,
        calibrated=temperature is not None,
        quality_calibrated=quality_exponent is not None,
    )
