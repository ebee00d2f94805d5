"""Agreement of predicted instances (cells, nuclei) with the reference: F1, AP, PQ, AJI and related metrics.

An instance map holds 0 for the background and one positive number per instance. The numbers are arbitrary,
and instances need not be connected.

One rule for empty maps: no instance in either map is not applicable (NaN, counted and excluded from means);
instances in exactly one of the two give 0 for every score.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import maximum_bipartite_matching, min_weight_full_bipartite_matching

from swin_umamba.data.instance_labels import consecutive_labels
from swin_umamba.errors import GeometryError, UsageError
from swin_umamba.metric_table import METRICS, metrics_of

# 0.5 to 0.95 in steps of 0.05, each the float closest to its decimal.
IOU_THRESHOLDS = tuple(percent / 100 for percent in range(50, 100, 5))
# Width in pixels of the border whose instances the NeurIPS 2022 cell segmentation challenge excludes.
BORDER_WIDTH = 2


@dataclass(frozen=True)
class Overlap:
    """Overlapping instances of two maps, and the sizes of their overlaps.

    There is a method for each metric of instances that ``metric_table`` names. At least one map must have
    instances.

    Attributes
    ----------
    reference_sizes, prediction_sizes
        Number of pixels of each instance.
    pairs
        ``(2, overlapping pairs)``: indices of a reference instance and a predicted one.
    intersections
        Number of pixels in the intersection of each pair.
    """

    reference_sizes: np.ndarray
    prediction_sizes: np.ndarray
    pairs: np.ndarray
    intersections: np.ndarray

    @property
    def unions(self) -> np.ndarray:
        """Number of pixels in the union of each pair."""
        sizes = self.reference_sizes[self.pairs[0]] + self.prediction_sizes[self.pairs[1]]
        values: np.ndarray = sizes - self.intersections
        return values

    @property
    def ious(self) -> np.ndarray:
        """Intersection over union of each pair; 0 for all other pairs."""
        values: np.ndarray = self.intersections / self.unions
        return values

    @property
    def num_reference(self) -> int:
        """Number of instances in the reference."""
        return len(self.reference_sizes)

    @property
    def num_prediction(self) -> int:
        """Number of instances in the prediction."""
        return len(self.prediction_sizes)

    @cached_property
    def matches(self) -> list[int]:
        """Number of matches at each IoU threshold."""
        return [count_matches(self, threshold) for threshold in IOU_THRESHOLDS]

    def precision(self) -> float:
        """Return the fraction of predicted instances that match with an IoU of at least 0.5."""
        return self.matches[0] / max(self.num_prediction, 1)

    def recall(self) -> float:
        """Return the fraction of reference instances that match with an IoU of at least 0.5."""
        return self.matches[0] / max(self.num_reference, 1)

    def f1(self) -> float:
        """Return ``2 TP / (2 TP + FP + FN)`` of matches with an IoU of at least 0.5."""
        return 2 * self.matches[0] / (self.num_reference + self.num_prediction)

    def f1_50_95(self) -> float:
        """Return the mean of the F1 at the IoU thresholds from 0.5 to 0.95."""
        total = self.num_reference + self.num_prediction
        return math.fsum(2 * found / total for found in self.matches) / len(self.matches)

    def ap(self) -> float:
        """Return ``TP / (TP + FP + FN)`` of matches with an IoU of at least 0.5.

        It is called average precision by cellpose and accuracy by StarDist, and was the metric of the Data
        Science Bowl 2018 (Caicedo et al., Nature Methods 16, 2019). It differs from the area under a curve
        that COCO calls AP.
        """
        return self.ap_at[0]

    def ap_50_95(self) -> float:
        """Return the mean of the AP at the IoU thresholds from 0.5 to 0.95."""
        return math.fsum(self.ap_at) / len(self.ap_at)

    @property
    def ap_at(self) -> list[float]:
        """The AP at each IoU threshold."""
        total = self.num_reference + self.num_prediction
        return [found / (total - found) for found in self.matches]

    def pq(self) -> float:
        """Return the panoptic quality of one class: sum of IoU over matches / (TP + FP / 2 + FN / 2).

        A match is a pair with an IoU above 0.5 (strictly above, which makes it unique). Kirillov et al.,
        "Panoptic segmentation", CVPR 2019, equation 1.
        """
        ious = self.ious
        return float(2 * ious[ious > 0.5].sum() / (self.num_reference + self.num_prediction))

    def aji(self) -> float:
        """Return the aggregated Jaccard index: intersection over union of the whole image.

        Each reference instance is paired with the prediction of the highest IoU, which may be paired with
        several; the pixels of unpaired predictions are added to the union. Kumar et al., IEEE TMI 36(7),
        2017, algorithm 1.
        """
        rows, columns = self.pairs
        best = _best_of_rows(self.pairs, self.ious)
        shared = self.intersections[best].sum()
        unmatched_reference = np.delete(self.reference_sizes, rows[best]).sum()
        unused_prediction = np.delete(self.prediction_sizes, columns[best]).sum()
        return float(shared / (self.unions[best].sum() + unmatched_reference + unused_prediction))

    def aji_plus(self) -> float:
        """Return the intersection of matched instances over the union of all instances, in pixels.

        The matching is one to one: the largest number of pairs with an IoU of at least 0.5, and among those
        the largest sum of IoU, as in ``aggregated_jaccard_index`` of cellpose 4.
        """
        if not self.intersections.size:
            return 0.0
        rows, columns = self.pairs
        ious = self.ious
        fewer = min(self.num_reference, self.num_prediction)
        weights = (ious >= IOU_THRESHOLDS[0]) + ious / (2 * fewer)
        # The matching must assign every row, so each row has an extra column that stands for no prediction.
        alone = np.arange(self.num_reference)
        costs = _sparse(
            np.concatenate([2 - weights, np.full(self.num_reference, 2.0)]),
            np.concatenate([rows, alone]),
            np.concatenate([columns, alone + self.num_prediction]),
            (self.num_reference, self.num_reference + self.num_prediction),
        )
        matched, partners = min_weight_full_bipartite_matching(costs)
        real = partners < self.num_prediction
        shared = _sparse(self.intersections, rows, columns, (self.num_reference, self.num_prediction))
        covered = self.reference_sizes.sum() + self.prediction_sizes.sum() - self.intersections.sum()
        return float(shared[matched[real], partners[real]].sum() / covered)


def score_instances(prediction: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Return every metric of instances by its key, 0 (worst) to 1; NaN where neither map has an instance.

    Parameters
    ----------
    prediction, reference
        Instance maps of the same shape, integers, in which 0 is the background.

    Raises
    ------
    GeometryError
        If the shapes differ.
    UsageError
        If the arrays are not integers, or hold negative values.
    """
    return scores_of(measure_overlap(prediction, reference))


def scores_of(overlap: Overlap) -> dict[str, float]:
    """Return every metric of instances by its key, as `score_instances` does."""
    keys = metrics_of("instances")
    if overlap.num_reference + overlap.num_prediction == 0:
        return dict.fromkeys(keys, math.nan)
    return {key: METRICS[key].measure(overlap) for key in keys}


def measure_overlap(prediction: np.ndarray, reference: np.ndarray) -> Overlap:
    """Count the shared pixels of every pair of instances, in time linear in the number of pixels."""
    if prediction.shape != reference.shape:
        raise GeometryError(
            f"the instance maps have different shapes: {prediction.shape} and {reference.shape}"
        )
    predicted, num_predicted = consecutive_labels(prediction)
    referenced, num_referenced = consecutive_labels(reference)
    both = (predicted > 0) & (referenced > 0)
    rows, columns = referenced[both] - 1, predicted[both] - 1
    counts = _sparse(np.ones(len(rows), np.int64), rows, columns, (num_referenced, num_predicted))
    table = counts.tocoo()  # pixels of one pair are counted together
    return Overlap(
        reference_sizes=np.bincount(referenced.ravel(), minlength=num_referenced + 1)[1:],
        prediction_sizes=np.bincount(predicted.ravel(), minlength=num_predicted + 1)[1:],
        pairs=np.stack([table.row, table.col]),
        intersections=table.data,
    )


def class_of_objects(instances: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return a label map in which every object has the class of most of its foreground pixels.

    Parameters
    ----------
    instances, labels
        Maps of the same shape. If two classes have equally many pixels, the smaller value counts; an object
        with background pixels only is of class 0.
    """
    overlap = measure_overlap(labels, instances)
    objects, classes = overlap.pairs
    first = _best_of_rows(overlap.pairs, overlap.intersections)
    of_object = np.zeros(overlap.num_reference + 1, labels.dtype)
    of_object[1 + objects[first]] = np.unique(labels[labels > 0])[classes[first]]
    result: np.ndarray = of_object[consecutive_labels(instances)[0]]
    return result


def count_matches(overlap: Overlap, threshold: float) -> int:
    """Return the largest number of one-to-one matches with an IoU of at least ``threshold``.

    (Above 0.5 the matching is unique; at exactly 0.5 and below, an instance may have several candidates.)
    """
    if not 0 < threshold <= 1:
        raise UsageError(f"the IoU threshold must be above 0 and at most 1, not {threshold}")
    rows, columns = overlap.pairs[:, overlap.ious >= threshold]
    if threshold > 0.5 or len(rows) == 0:
        return len(rows)
    shape = (overlap.num_reference, overlap.num_prediction)
    candidates = _sparse(np.ones(len(rows), bool), rows, columns, shape)
    return int(np.count_nonzero(maximum_bipartite_matching(candidates) >= 0))


def _best_of_rows(pairs: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the place of each row's pair with the highest value, on ties with the lowest column."""
    rows, columns = pairs
    order = np.lexsort((columns, -values, rows))
    best: np.ndarray = order[np.unique(rows[order], return_index=True)[1]]
    return best


def _sparse(
    values: np.ndarray, rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]
) -> sparse.csr_array:
    """Return a sparse matrix; values at one place are added up."""
    # Older versions of scipy's matchings take indices of 32 bits alone.
    return sparse.csr_array((values, (rows.astype(np.int32), columns.astype(np.int32))), shape=shape)


def remove_border_instances(instances: np.ndarray) -> np.ndarray:
    """Return a 2D instance map without the instances that touch the border of ``BORDER_WIDTH`` pixels."""
    frame = np.ones(instances.shape, bool)
    frame[BORDER_WIDTH:-BORDER_WIDTH, BORDER_WIDTH:-BORDER_WIDTH] = False
    numbers, count = consecutive_labels(instances)
    keep = np.ones(count + 1, bool)
    keep[numbers[frame]] = False
    values: np.ndarray = instances * keep[numbers]
    return values


def without_unknown(prediction: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """Return the map without pixels of unknown truth, and without objects of which most pixels are there."""
    compact, count = consecutive_labels(prediction)
    sizes = np.bincount(compact.ravel(), minlength=count + 1)
    there = np.bincount(compact[unknown], minlength=count + 1)
    return np.where(unknown | (2 * there > sizes)[compact], 0, prediction)
