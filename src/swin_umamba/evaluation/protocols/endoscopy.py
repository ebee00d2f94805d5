"""The protocol of the paper's experiment on instruments in endoscopic pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from swin_umamba.evaluation.cases import label_values
from swin_umamba.evaluation.metrics import MaskPair, dice
from swin_umamba.evaluation.protocols.base import (
    COMMON_RULES,
    MASK_METRICS,
    Form,
    ProtocolScores,
    Rule,
    published_digits,
    published_nsd,
)
from swin_umamba.metric_table import metrics_of

TOLERANCE = 2.0  # tolerance of the NSD, in pixels


@dataclass(frozen=True)
class Endoscopy:
    """Dice and NSD of instruments in pictures: averaged over the classes of a picture, then over pictures."""

    name = "endoscopy"
    ndim = 2
    metrics: ClassVar[Mapping[Form, tuple[str, ...]]] = MASK_METRICS
    reference_ending = ""
    rules = (
        *COMMON_RULES,
        Rule(
            "the smallest value in a picture is taken as the background, whatever it is",
            "the background is the value 0",
        ),
        Rule(
            "the scripts stop at a picture without instruments in both label maps (here it is left out)",
            "a picture without instruments in both label maps is not applicable",
        ),
        Rule(
            "the NSD treats a picture as a volume of one slice, so that all pixels are surface",
            "the NSD is computed from the outlines",
        ),
    )
    class_names = ("instruments",)
    prediction_values = frozenset(range(8))
    reference_values = prediction_values

    def as_published(
        self, prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float]
    ) -> ProtocolScores:
        """Score one case as the paper's evaluation script does."""
        values = sorted({*label_values(prediction)[1:], *label_values(reference)[1:]})
        if not values:
            remark = "no instruments in both label maps: the published scripts stop here"
            return ProtocolScores({self.class_names[0]: {"dice": math.nan, "nsd": math.nan}}, (remark,))
        masks = [(prediction == value, reference == value) for value in values]
        dices = [dice(found, there) for found, there in masks]
        nsds = [
            published_nsd(found[..., None], there[..., None], (1.0, 1.0, 1.0), TOLERANCE)
            for found, there in masks
        ]
        means = {name: published_digits(np.mean(each)) for name, each in (("dice", dices), ("nsd", nsds))}
        return ProtocolScores({self.class_names[0]: means})

    def corrected(
        self, prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float]
    ) -> ProtocolScores:
        """Score one case as the metric is defined."""
        values = sorted({*label_values(prediction), *label_values(reference)} - {0})
        scores = [
            MaskPair(prediction == value, reference == value, spacing, TOLERANCE).scores() for value in values
        ]
        means = {metric: _mean([score[metric] for score in scores]) for metric in metrics_of("masks")}
        return ProtocolScores({self.class_names[0]: means})


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan
