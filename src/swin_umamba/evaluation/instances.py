"""How well predicted instances (cells, nuclei) match the reference: F1, AP, PQ, AJI and their relatives.

An instance map holds 0 for the background and one positive number an instance. Which numbers, and whether an
instance is connected, does not matter.

One rule for empty maps: no instance in either is not applicable (NaN, to be counted and left out of means);
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

# 0.5 to 0.95 in steps of 0.05, each the float nearest to its decimal.
IOU_THRESHOLDS = tuple(percent / 100 for percent in range(50, 100, 5))
# The frame whose instances the NeurIPS 2022 cell segmentation challenge leaves out, in pixels.
BORDER_WIDTH = 2


@dataclass(frozen=True)
class Overlap:
    """Which instances of two maps overlap, and by how much.

    There is a method for each metric of instances that ``metric_table`` names; one of the maps must have any.

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
        values: np.ndarray = sizes - self.intersections
        return values

    @property
    def ious(self) -> np.ndarray:
        """Intersection over union of each pair; of all other pairs it is 0."""
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
        """Number of matches at each of the IoU thresholds."""
        return [count_matches(self, threshold) for threshold in IOU_THRESHOLDS]

    def precision(self) -> float:
        """Return the part of the predicted instances that match with an IoU of at least 0.5."""
        return self.matches[0] / max(self.num_prediction, 1)

    def recall(self) -> float:
        """Return the part of the reference instances that match with an IoU of at least 0.5."""
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

        What cellpose calls average precision and StarDist accuracy, and the metric of the Data Science Bowl
        2018 (Caicedo et al., Nature Methods 16, 2019); not the area under a curve that COCO gives the name.
        """
        return self.ap_at[0]

    def ap_50_95(self) -> float:
        """Return the mean of the AP at the IoU thresholds from 0.5 to 0.95."""
        return math.fsum(self.ap_at) / len(self.ap_at)

    @property
    def ap_at(self) -> list[float]:
        """The AP at each of the IoU thresholds."""
        total = self.num_reference + self.num_prediction
        return [found / (total - found) for found in self.matches]

    def pq(self) -> float:
        """Return the panoptic quality of one class: sum of IoU over matches / (TP + FP / 2 + FN / 2).

        A match is a pair with an IoU above 0.5 (not equal: that makes it unique). Kirillov et al., "Panoptic
        segmentation", CVPR 2019, equation 1.
        """
        ious = self.ious
        return float(2 * ious[ious > 0.5].sum() / (self.num_reference + self.num_prediction))

    def aji(self) -> float:
        """Return the aggregated Jaccard index: shared pixels over covered pixels of the whole image.

        Each reference instance goes with the prediction of the highest IoU, which may serve several;
        predictions that serve none add their pixels to the union. Kumar et al., IEEE TMI 36(7), 2017,
        algorithm 1.
        """
        rows, columns = self.pairs
        # By reference, the best first, and the lower number where two are equally good.
        order = np.lexsort((columns, -self.ious, rows))
        best = order[np.unique(rows[order], return_index=True)[1]]
        shared = self.intersections[best].sum()
        unmatched_reference = np.delete(self.reference_sizes, rows[best]).sum()
        unused_prediction = np.delete(self.prediction_sizes, columns[best]).sum()
        return float(shared / (self.unions[best].sum() + unmatched_reference + unused_prediction))

    def aji_plus(self) -> float:
        """Return the pixels that matched instances share over the pixels that any instance covers.

        The matching is one to one: as many pairs with an IoU of at least 0.5 as can be, and among those the
        largest sum of IoU, as in ``aggregated_jaccard_index`` of cellpose 4.
        """
        if not self.intersections.size:
            return 0.0
        rows, columns = self.pairs
        ious = self.ious
        fewer = min(self.num_reference, self.num_prediction)
        weights = (ious >= IOU_THRESHOLDS[0]) + ious / (2 * fewer)
        # The matching has to reach every row: a column of its own stands for no prediction at all.
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
        Instance maps of one shape, integers, 0 is the background.

    Raises
    ------
    GeometryError
        The shapes differ.
    UsageError
        The arrays hold no integers, or negative ones.
    """
    return scores_of(measure_overlap(prediction, reference))


def scores_of(overlap: Overlap) -> dict[str, float]:
    """Return every metric of instances by its key, as `score_instances` does."""
    keys = metrics_of("instances")
    if overlap.num_reference + overlap.num_prediction == 0:
        return dict.fromkeys(keys, math.nan)
    return {key: METRICS[key].measure(overlap) for key in keys}


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
    counts = _sparse(np.ones(len(rows), np.int64), rows, columns, (num_referenced, num_predicted))
    table = counts.tocoo()  # pixels of one pair are counted together
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
    candidates = _sparse(np.ones(len(rows), bool), rows, columns, shape)
    return int(np.count_nonzero(maximum_bipartite_matching(candidates) >= 0))


def _sparse(
    values: np.ndarray, rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]
) -> sparse.csr_array:
    """Return a sparse matrix; values at one place are added up."""
    # Older versions of scipy's matchings take indices of 32 bits alone.
    return sparse.csr_array((values, (rows.astype(np.int32), columns.astype(np.int32))), shape=shape)


def remove_border_instances(instances: np.ndarray, *, width: int = BORDER_WIDTH) -> np.ndarray:
    """Return a 2D instance map without the instances that touch the outermost ``width`` pixels."""
    height, extent = instances.shape
    frame = np.ones(instances.shape, bool)
    frame[width : max(height - width, width), width : max(extent - width, width)] = False
    numbers, count = consecutive_labels(instances)
    keep = np.ones(count + 1, bool)
    keep[numbers[frame]] = False
    values: np.ndarray = instances * keep[numbers]
    return values
