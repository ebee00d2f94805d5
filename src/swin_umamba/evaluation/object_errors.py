"""Errors of predicted objects by kind: missed, false, split, merged.

An object lies in another if more than half of its pixels do, so that it lies in one at most.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from swin_umamba.data.instance_labels import consecutive_labels
from swin_umamba.evaluation.instances import IOU_THRESHOLDS, Overlap, measure_overlap

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


def draw_errors(prediction: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, dict[str, int]]:
    """Return a map of the errors of one case, and the number of each kind.

    Parameters
    ----------
    prediction, truth
        Instance maps of the same shape.

    Returns
    -------
    tuple
        uint8 in that shape, 0 or 1 plus the index in ``ERRORS``: predictions that are false or merged, and
        true objects that are missed or split. Where they overlap, a missed object counts before a false one,
        a false one before a split one, and all before a merged one.
    """
    errors = errors_of(measure_overlap(prediction, truth))
    numbers = {"true": consecutive_labels(truth)[0], "predicted": consecutive_labels(prediction)[0]}
    drawn = np.zeros(truth.shape, np.uint8)
    for kind in reversed(ERRORS):
        whose = numbers["true" if kind in ("missed", "split") else "predicted"]
        drawn[np.append(False, getattr(errors, kind))[whose]] = 1 + ERRORS.index(kind)
    return drawn, errors.counts()
