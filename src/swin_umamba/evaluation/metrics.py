"""Dice, normalized surface distance and 95th percentile Hausdorff distance of one mask, in 2D and 3D.

One rule for empty masks: two empty masks are not applicable (NaN, counted and excluded from means); exactly
one empty mask gets the worst score (Dice 0, NSD 0, HD95 the diagonal of the image).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy

from swin_umamba.errors import GeometryError, UsageError
from swin_umamba.evaluation.surface import element_areas, neighbour_codes
from swin_umamba.metric_table import METRICS, metrics_of

# Most headers store spacings as float32, where 1.1 reads 1.10000002; a surface at the tolerance still counts.
TOLERANCE_SLACK = 1e-6


def dice(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Return ``2 |P and R| / (|P| + |R|)`` of two boolean masks of the same shape; NaN if both are empty."""
    _check_shapes(prediction, reference)
    size = int(np.count_nonzero(prediction)) + int(np.count_nonzero(reference))
    if size == 0:
        return math.nan
    return 2 * int(np.count_nonzero(prediction & reference)) / size


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances between the surfaces of two non-empty masks.

    Attributes
    ----------
    prediction_to_reference, reference_to_prediction
        Distance of each element of the first surface to the nearest element of the second, in mm.
    prediction_areas, reference_areas
        Length (mm, 2D) or area (mm^2, 3D) of these elements.
    """

    prediction_to_reference: np.ndarray
    prediction_areas: np.ndarray
    reference_to_prediction: np.ndarray
    reference_areas: np.ndarray

    def within(self, tolerance: float, *, slack: float = TOLERANCE_SLACK) -> float:
        """Return the fraction of both surfaces that is within ``tolerance`` mm of the other (the NSD).

        ``slack`` is the fraction of the tolerance by which rounded spacings may exceed it.
        """
        limit = tolerance * (1 + slack)
        close = self.prediction_areas[self.prediction_to_reference <= limit].sum()
        close += self.reference_areas[self.reference_to_prediction <= limit].sum()
        return float(close / (self.prediction_areas.sum() + self.reference_areas.sum()))

    def hausdorff_95(self) -> float:
        """Return the larger of the area-weighted 95th percentiles of both directions, in mm."""
        return max(
            _weighted_percentile(self.prediction_to_reference, self.prediction_areas),
            _weighted_percentile(self.reference_to_prediction, self.reference_areas),
        )


def surface_distances(
    prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float]
) -> SurfaceDistances:
    """Measure the distances between the surfaces of two non-empty boolean masks.

    Parameters
    ----------
    prediction, reference
        Boolean masks of the same shape, ``(y, x)`` or ``(z, y, x)``, not empty.
    spacing
        Voxel spacing in mm, in the order of the axes.

    Notes
    -----
    Surface elements are at the corners between voxels and are weighted by their area, as in Nikolov et al.,
    arXiv 1809.04430; see :mod:`swin_umamba.evaluation.surface`. The image border counts as background.
    """
    _check_shapes(prediction, reference, spacing)
    (box,) = scipy.ndimage.find_objects(prediction | reference, 1)
    areas = element_areas(spacing)
    all_inside = len(areas) - 1
    codes = [neighbour_codes(np.ascontiguousarray(mask[box])) for mask in (prediction, reference)]
    surfaces = [(code != 0) & (code != all_inside) for code in codes]
    return SurfaceDistances(
        prediction_to_reference=_distances(surfaces[0], surfaces[1], spacing),
        prediction_areas=areas[codes[0][surfaces[0]]],
        reference_to_prediction=_distances(surfaces[1], surfaces[0], spacing),
        reference_areas=areas[codes[1][surfaces[1]]],
    )


@dataclass(frozen=True)
class MaskPair:
    """A mask and its reference, with a method for each metric of masks that ``metric_table`` names.

    Attributes
    ----------
    prediction, reference
        Boolean masks of the same shape, ``(y, x)`` or ``(z, y, x)``.
    spacing
        Voxel spacing in mm, in the order of the axes.
    tolerance
        Tolerance of the NSD, in mm, not negative; a distance equal to it counts as close.
    """

    prediction: np.ndarray
    reference: np.ndarray
    spacing: Sequence[float]
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        _check_shapes(self.prediction, self.reference, self.spacing)
        if not (math.isfinite(self.tolerance) and self.tolerance >= 0):
            raise UsageError(f"the surface tolerance must be a number from 0, not {self.tolerance}")

    @cached_property
    def there(self) -> tuple[bool, bool]:
        """Whether the prediction and the reference contain anything."""
        return bool(self.prediction.any()), bool(self.reference.any())

    @cached_property
    def distances(self) -> SurfaceDistances | None:
        """Distances between the surfaces; None if a mask is empty."""
        return surface_distances(self.prediction, self.reference, self.spacing) if all(self.there) else None

    def scores(self) -> dict[str, float]:
        """Return every metric of masks by its key; NaN if both masks are empty."""
        there = any(self.there)
        return {key: METRICS[key].measure(self) if there else math.nan for key in metrics_of("masks")}

    def dice(self) -> float:
        """Return the Dice coefficient."""
        return dice(self.prediction, self.reference)

    def nsd(self) -> float:
        """Return the normalized surface distance: the fraction of both surfaces within the tolerance."""
        return self._worst(0.0) if self.distances is None else self.distances.within(self.tolerance)

    def hd95(self) -> float:
        """Return the 95th percentile Hausdorff distance in mm."""
        if self.distances is None:
            return self._worst(image_diagonal(self.reference.shape, self.spacing))
        return self.distances.hausdorff_95()

    def _worst(self, score: float) -> float:
        return score if any(self.there) else math.nan


def image_diagonal(shape: Sequence[int], spacing: Sequence[float]) -> float:
    """Return the length of the diagonal of an image in mm."""
    return math.hypot(*(size * length for size, length in zip(shape, spacing, strict=True)))


def _check_shapes(
    prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float] | None = None
) -> None:
    if prediction.shape != reference.shape:
        # Arrays of other shapes may broadcast, and would then be counted wrongly without an error.
        raise GeometryError(
            f"the masks have different shapes: prediction {prediction.shape}, reference {reference.shape}"
        )
    if prediction.dtype != bool or reference.dtype != bool:
        raise UsageError(f"masks must be boolean arrays, not {prediction.dtype} and {reference.dtype}")
    if spacing is not None and (
        reference.ndim not in (2, 3)
        or len(spacing) != reference.ndim
        or not all(math.isfinite(length) and length > 0 for length in spacing)
    ):
        raise UsageError(f"a mask of {reference.ndim} axes does not go with the spacing {tuple(spacing)}")


def _distances(surface: np.ndarray, other: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Return the distance from each element of ``surface`` to the nearest of ``other``, in C order.

    Uses a search tree over the elements: a distance transform would visit every voxel of the bounding box,
    which a single stray voxel can make as large as the image.
    """
    shared = other[surface]
    distances = np.zeros(len(shared))
    apart, others = np.argwhere(surface)[~shared], np.argwhere(other)
    step = np.asarray(spacing, dtype=float)
    # For grid points, splitting cells in the middle and not at the median halves the time to build the tree.
    tree = scipy.spatial.cKDTree(others * step, balanced_tree=False, compact_nodes=False)
    _, nearest = tree.query(apart * step)
    # Computed from whole numbers of steps: differences of the tree's scaled coordinates are rounded.
    distances[~shared] = np.sqrt((((apart - others[nearest]) * step) ** 2).sum(axis=1))
    return distances


def _weighted_percentile(distances: np.ndarray, areas: np.ndarray) -> float:
    order = np.argsort(distances, kind="stable")
    cumulative = np.cumsum(areas[order])
    position = int(np.searchsorted(cumulative, 0.95 * cumulative[-1]))
    return float(distances[order][min(position, len(order) - 1)])
