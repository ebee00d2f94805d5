"""How well predicted instances (cells, nuclei) match the reference: F1, precision, recall, PQ and AJI.

An instance map holds 0 for the background and one positive number an instance. Which numbers, and whether an
instance is connected, does not matter.

One rule for empty maps: no instance in either is not applicable (NaN, to be counted and left out of means);
instances in exactly one of the two give 0 for every score.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import maximum_bipartite_matching

from swin_umamba.data.instance_labels import consecutive_labels
from swin_umamba.errors import GeometryError, UsageError

# 0.5 to 0.95 in steps of 0.05, each the float nearest to its decimal.
IOU_THRESHOLDS = tuple(percent / 100 for percent in range(50, 100, 5))
# The frame whose instances the NeurIPS 2022 cell segmentation challenge leaves out, in pixels.
BORDER_WIDTH = 2


@dataclass(frozen=True)
class Overlap:
    """Which instances of two maps overlap, and by how much.

    Attributes
    ----------
    reference_sizes, prediction_sizes
        Pixels of each instance.
    pairs
        ``(2, overlapping pairs)``: indices of a reference and of a predicted instance.
    intersections
        Pixels that each pair shares.
    """

    reference_sizes: np.ndarray
    prediction_sizes: np.ndarray
    pairs: np.ndarray
    intersections: np.ndarray

    @property
    def unions(self) -> np.ndarray:
        """Pixels that each pair covers together."""
        sizes = self.reference_sizes[self.pairs[0]] + self.prediction_sizes[self.pairs[1]]
        return sizes - self.intersections

    @property
    def ious(self) -> np.ndarray:
        """Intersection over union of each pair; of all other pairs it is 0."""
        return self.intersections / self.unions

    @property
    def num_reference(self) -> int:
        """Number of instances in the reference."""
        return len(self.reference_sizes)

    @property
    def num_prediction(self) -> int:
        """Number of instances in the prediction."""
        return len(self.prediction_sizes)


@dataclass(frozen=True)
class InstanceScores:
    """Scores of one image, 0 (worst) to 1; NaN where neither map has an instance.

    Attributes
    ----------
    f1, precision, recall
        Of instances that match with an IoU of at least 0.5.
    f1_50_95
        Mean of the F1 at IoU thresholds from 0.5 to 0.95 in steps of 0.05.
    pq
        Panoptic quality, see :func:`panoptic_quality`.
    aji
        Aggregated Jaccard index, see :func:`aggregated_jaccard`.
    """

    f1: float
    precision: float
    recall: float
    f1_50_95: float
    pq: float
    aji: float

    def to_dict(self) -> dict[str, float]:
        """Return the scores by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def score_instances(prediction: np.ndarray, reference: np.ndarray) -> InstanceScores:
    """Return all scores of a predicted instance map.

    Parameters
    ----------
    prediction, reference
        Instance maps of one shape, integers, 0 is the background.

    Raises
    ------
    GeometryError
        The shapes differ.
    UsageError
        The arrays hold no integers, or negative ones.
    """
    overlap = measure_overlap(prediction, reference)
    counts = (overlap.num_reference, overlap.num_prediction)
    matches = [count_matches(overlap, threshold) for threshold in IOU_THRESHOLDS]
    f1s = [f1_score(found, *counts) for found in matches]
    return InstanceScores(
        f1=f1s[0],
        precision=_share(matches[0], counts[1], counts),
        recall=_share(matches[0], counts[0], counts),
        f1_50_95=math.fsum(f1s) / len(f1s),
        pq=panoptic_quality(overlap),
        aji=aggregated_jaccard(overlap),
    )


def measure_overlap(prediction: np.ndarray, reference: np.ndarray) -> Overlap:
    """Count the pixels that every pair of instances shares, in time linear in the pixels."""
    if prediction.shape != reference.shape:
        raise GeometryError(
            f"the instance maps have different shapes: {prediction.shape} and {reference.shape}"
        )
    predicted, num_predicted = consecutive_labels(prediction)
    referenced, num_referenced = consecutive_labels(reference)
    both = (predicted > 0) & (referenced > 0)
    rows, columns = referenced[both] - 1, predicted[both] - 1
    counts = sparse.coo_array(
        (np.ones(len(rows), np.int64), (rows, columns)), shape=(num_referenced, num_predicted)
    )
    table = counts.tocsr().tocoo()  # counts pixels of one pair together
    return Overlap(
        reference_sizes=np.bincount(referenced.ravel(), minlength=num_referenced + 1)[1:],
        prediction_sizes=np.bincount(predicted.ravel(), minlength=num_predicted + 1)[1:],
        pairs=np.stack([table.row, table.col]),
        intersections=table.data,
    )


def count_matches(overlap: Overlap, threshold: float) -> int:
    """Return how many instances can be matched one to one with an IoU of at least ``threshold``.

    The largest number that any assignment reaches. (Above 0.5 there is only one; at 0.5 exactly, and below,
    an instance may have several candidates.)
    """
    if not 0 < threshold <= 1:
        raise UsageError(f"the IoU threshold must be above 0 and at most 1, not {threshold}")
    rows, columns = overlap.pairs[:, overlap.ious >= threshold]
    if threshold > 0.5 or len(rows) == 0:
        return len(rows)
    shape = (overlap.num_reference, overlap.num_prediction)
    candidates = sparse.csr_array((np.ones(len(rows), bool), (rows, columns)), shape=shape)
    return int(np.count_nonzero(maximum_bipartite_matching(candidates) >= 0))


def f1_score(matches: int, num_reference: int, num_prediction: int) -> float:
    """Return ``2 TP / (2 TP + FP + FN)``; NaN without any instance."""
    total = num_reference + num_prediction
    return 2 * matches / total if total else math.nan


def panoptic_quality(overlap: Overlap) -> float:
    """Return the panoptic quality of one class: sum of IoU over matches / (TP + FP / 2 + FN / 2).

    A match is a pair with an IoU above 0.5 (not equal: that makes it unique). Kirillov et al., "Panoptic
    segmentation", CVPR 2019, equation 1. NaN without any instance.
    """
    total = overlap.num_reference + overlap.num_prediction
    ious = overlap.ious
    return float(2 * ious[ious > 0.5].sum() / total) if total else math.nan


def aggregated_jaccard(overlap: Overlap) -> float:
    """Return the aggregated Jaccard index: shared pixels over covered pixels of the whole image.

    Each reference instance goes with the prediction of the highest IoU, which may serve several; predictions
    that serve none add their pixels to the union. Kumar et al., IEEE TMI 36(7), 2017, algorithm 1. NaN
    without any instance.
    """
    if overlap.num_reference + overlap.num_prediction == 0:
        return math.nan
    rows, columns = overlap.pairs
    # By reference, the best first, and the lower number where two are equally good.
    order = np.lexsort((columns, -overlap.ious, rows))
    best = order[np.unique(rows[order], return_index=True)[1]]
    shared = overlap.intersections[best].sum()
    unmatched_reference = np.delete(overlap.reference_sizes, rows[best]).sum()
    unused_prediction = np.delete(overlap.prediction_sizes, columns[best]).sum()
    return float(shared / (overlap.unions[best].sum() + unmatched_reference + unused_prediction))


def remove_border_instances(instances: np.ndarray, *, width: int = BORDER_WIDTH) -> np.ndarray:
    """Return a 2D instance map without the instances that touch the outermost ``width`` pixels."""
    height, extent = instances.shape
    frame = np.ones(instances.shape, bool)
    frame[width : max(height - width, width), width : max(extent - width, width)] = False
    numbers, count = consecutive_labels(instances)
    keep = np.ones(count + 1, bool)
    keep[numbers[frame]] = False
    return instances * keep[numbers]


def _share(matches: int, of: int, counts: tuple[int, int]) -> float:
    if not any(counts):
        return math.nan
    return matches / of if of else 0.0
