"""The protocol of the paper's experiment on organs in abdominal MR volumes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from swin_umamba.errors import UsageError
from swin_umamba.evaluation.classes import LabelClasses
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

# In the order of the paper's data set, where their values are 1 to 13; tolerances of the NSD in mm.
ORGAN_TOLERANCES = {
    "liver": 5.0,
    "right kidney": 3.0,
    "spleen": 3.0,
    "pancreas": 5.0,
    "aorta": 2.0,
    "inferior vena cava": 2.0,
    "right adrenal gland": 2.0,
    "left adrenal gland": 2.0,
    "gallbladder": 2.0,
    "esophagus": 3.0,
    "stomach": 5.0,
    "duodenum": 7.0,
    "left kidney": 3.0,
}
# Annotators end these at different slices, so only the slices that the reference labels are compared.
TUBULAR_ORGANS = ("aorta", "inferior vena cava", "esophagus")


@dataclass(frozen=True)
class AbdomenMR:
    """Dice and NSD of organs in volumes, with a separate tolerance for each organ.

    Attributes
    ----------
    values
        Label value of each organ; by default those of the 13 organs in the paper's data set.
    """

    values: Mapping[str, int] = field(
        default_factory=lambda: {organ: value for value, organ in enumerate(ORGAN_TOLERANCES, start=1)}
    )

    name = "abdomen-mr"
    ndim = 3
    metrics: ClassVar[Mapping[Form, tuple[str, ...]]] = MASK_METRICS
    reference_ending = ""
    rules = (
        *COMMON_RULES,
        Rule(
            "the last labelled slice of aorta, inferior vena cava and esophagus is left out",
            "all labelled slices of the three are compared",
        ),
        Rule(
            "if one of the three is in a single slice, it has no Dice, and the script for the NSD stops",
            "a single slice is scored",
        ),
        Rule(
            "an organ that is in neither label map scores 1",
            "an organ that is in neither label map is not applicable",
        ),
    )

    @classmethod
    def from_classes(cls, classes: LabelClasses) -> AbdomenMR:
        """Return the protocol for a data set with other label values or only some of the organs.

        Raises
        ------
        UsageError
            If a class is not one of the 13 organs, or is a region of several values.
        """
        values: dict[str, int] = {}
        for name, group in classes.values.items():
            organ = name.lower().replace("_", " ")
            organ = next(
                (known for known in ORGAN_TOLERANCES if organ in (known, known.removesuffix(" gland"))), ""
            )
            if not organ or len(group) != 1:
                raise UsageError(
                    f"the protocol {cls.name} has no class {name!r} with the values {group}",
                    hint=f"give each class one value and one of the names {', '.join(ORGAN_TOLERANCES)}",
                )
            values[organ] = group[0]
        if classes.ignore is not None:
            raise UsageError(f"the protocol {cls.name} has no voxels to ignore, but the classes declare some")
        return cls(values)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The organs, in the order of their label values."""
        return tuple(self.values)

    @property
    def prediction_values(self) -> frozenset[int]:
        """Label values that a prediction may hold, and a reference."""
        return frozenset({0, *self.values.values()})

    reference_values = prediction_values

    def as_published(
        self, prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float]
    ) -> ProtocolScores:
        """Score one case as the paper's evaluation script does."""
        scores: dict[str, dict[str, float]] = {}
        remarks = []
        for organ, value in self.values.items():
            found, there = prediction == value, reference == value
            if not there.any():
                score = 0.0 if found.any() else 1.0
                scores[organ] = {"dice": score, "nsd": score}
                continue
            if organ in TUBULAR_ORGANS:
                _keep_labelled_slices(found, there, with_last=False)
            if not there.any():
                scores[organ] = {"dice": math.nan, "nsd": math.nan}
                remarks.append(f"{organ} in a single slice: the published script for the NSD stops here")
                continue
            # The published arrays have the axes x, y, z; with the same order, sums are rounded in the same
            # way.
            nsd = published_nsd(found.T, there.T, spacing[::-1], ORGAN_TOLERANCES[organ])
            scores[organ] = {"dice": published_digits(dice(found, there)), "nsd": published_digits(nsd)}
        return ProtocolScores(scores, tuple(remarks))

    def corrected(
        self, prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float]
    ) -> ProtocolScores:
        """Score one case as the metric is defined."""
        scores = {}
        for organ, value in self.values.items():
            found, there = prediction == value, reference == value
            if organ in TUBULAR_ORGANS and there.any():
                _keep_labelled_slices(found, there, with_last=True)
            scores[organ] = MaskPair(found, there, spacing, ORGAN_TOLERANCES[organ]).scores()
        return ProtocolScores(scores)


def _keep_labelled_slices(prediction: np.ndarray, reference: np.ndarray, *, with_last: bool) -> None:
    """Empty both masks, in place, outside the range of slices of the reference."""
    labelled = np.flatnonzero(reference.any(axis=(1, 2)))
    for mask in (prediction, reference):
        mask[: labelled[0]] = False
        mask[labelled[-1] + with_last :] = False
