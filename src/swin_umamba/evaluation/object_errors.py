"""Errors of predicted objects by kind: missed, false, split, merged.

An object lies in another if more than half of its pixels do, so that it lies in one at most.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from swin_umamba.evaluation.instances import IOU_THRESHOLDS, Overlap

ERRORS = ("missed", "false", "split", "merged")


@dataclass(frozen=True, eq=False)
class ObjectErrors:
    """Which objects are errors, by their index in an ``Overlap``; boolean.

    Attributes
    ----------
    missed
        ``(true objects,)``: no prediction has an IoU of 0.5 with it, it is not split, and it does not lie in
        a merged prediction.
    false
        ``(predicted objects,)``: it has an IoU of 0.5 with no true object, is not merged, and does not lie in
        a split true object.
    split
        ``(true objects,)``: two or more predictions lie in it, and cover more than half of it together.
    merged
        ``(predicted objects,)``: two or more true objects lie in it.
    """

    missed: np.ndarray
    false: np.ndarray
    split: np.ndarray
    merged: np.ndarray

    def counts(self) -> dict[str, int]:
        """Return the number of each kind, in the order of ``ERRORS``."""
        return {kind: int(np.count_nonzero(getattr(self, kind))) for kind in ERRORS}


def errors_of(overlap: Overlap) -> ObjectErrors:
    """Return the errors of predicted objects, in time linear in the pairs that overlap."""
    true, predicted = overlap.pairs
    shared, num_true, num_predicted = overlap.intersections, overlap.num_reference, overlap.num_prediction
    true_within = 2 * shared > overlap.reference_sizes[true]
    predicted_within = 2 * shared > overlap.prediction_sizes[predicted]
    inside = true[predicted_within]
    covered = np.bincount(inside, shared[predicted_within], minlength=num_true)
    split = (np.bincount(inside, minlength=num_true) >= 2) & (2 * covered > overlap.reference_sizes)
    merged = np.bincount(predicted[true_within], minlength=num_predicted) >= 2
    partner = overlap.ious >= IOU_THRESHOLDS[0]
    missed, false = ~split, ~merged
    missed[true[partner | (true_within & merged[predicted])]] = False
    false[predicted[partner | (predicted_within & split[true])]] = False
    return ObjectErrors(missed, false, split, merged)
