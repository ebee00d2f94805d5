"""The protocol of the paper's experiment on cells in microscopy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from swin_umamba.data.instance_labels import OUTER_RIM, classes_to_instances, interior_components
from swin_umamba.evaluation.instances import (
    count_matches,
    measure_overlap,
    remove_border_instances,
    score_instances,
)
from swin_umamba.evaluation.protocols.base import COMMON_RULES, Form, ProtocolScores, Rule, published_digits
from swin_umamba.metric_table import metrics_of

IOU_THRESHOLD = 0.5
# Pictures of this size and above are scored tile by tile in the published form.
TILED_FROM_PIXELS = 25_000_000
TILE_SIDE = 2000


@dataclass(frozen=True)
class Microscopy:
    """F1 of cells: predictions of the classes background, interior and boundary against instance maps.

    Cells within two pixels of the image border are excluded from both.

    Attributes
    ----------
    outer_rim
        Distance by which the predicted boundary class extends outside the cells, see
        :func:`swin_umamba.data.instance_labels.classes_to_instances`. It has no effect on the published form.
    """

    outer_rim: int = OUTER_RIM

    name = "microscopy"
    ndim = 2
    metrics: ClassVar[Mapping[Form, tuple[str, ...]]] = {
        "as-published": ("f1", "precision", "recall"),
        "corrected": metrics_of("instances"),
    }
    reference_ending = "_label"
    rules = (
        *COMMON_RULES,
        Rule(
            "a cell is its interior; the boundary class is lost", "boundary pixels are returned to their cell"
        ),
        Rule(
            "pictures of 25 megapixels and more are scored in tiles of 2000 x 2000 pixels, without the cells "
            "at the border of any tile",
            "pictures of all sizes are scored as a whole",
        ),
        Rule(
            "a picture without cells in both maps scores 0",
            "a picture without cells in both maps is not applicable",
        ),
    )
    class_names = ("cells",)
    prediction_values = frozenset(range(3))
    reference_values = None

    def as_published(
        self, prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float]
    ) -> ProtocolScores:
        """Score one case as the paper's evaluation script does."""
        matches = num_prediction = num_reference = 0
        for found, there in _published_tiles(interior_components(prediction)[0], reference):
            overlap = measure_overlap(remove_border_instances(found), remove_border_instances(there))
            matches += count_matches(overlap, IOU_THRESHOLD)
            num_prediction += overlap.num_prediction
            num_reference += overlap.num_reference
        precision = matches / num_prediction if matches else 0.0
        recall = matches / num_reference if matches else 0.0
        f1 = 2 * (precision * recall) / (precision + recall) if matches else 0.0
        scores = {"f1": f1, "precision": precision, "recall": recall}
        return ProtocolScores(
            {self.class_names[0]: {name: published_digits(score) for name, score in scores.items()}}
        )

    def corrected(
        self, prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float]
    ) -> ProtocolScores:
        """Score one case as the metric is defined."""
        found = remove_border_instances(classes_to_instances(prediction, outer_rim=self.outer_rim))
        scores = score_instances(found, remove_border_instances(reference))
        return ProtocolScores({self.class_names[0]: scores})


def _published_tiles(
    prediction: np.ndarray, reference: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield a picture, or its tiles if it is large, padded with background to full tiles."""
    if reference.size < TILED_FROM_PIXELS:
        yield prediction, reference
        return
    padding = [(0, -size % TILE_SIDE) for size in reference.shape]
    # The published script casts the numbers of predicted cells to the type of the reference, which may
    # overflow.
    prediction, reference = np.pad(prediction.astype(reference.dtype), padding), np.pad(reference, padding)
    for top in range(0, reference.shape[0], TILE_SIDE):
        for left in range(0, reference.shape[1], TILE_SIDE):
            tile = (slice(top, top + TILE_SIDE), slice(left, left + TILE_SIDE))
            yield prediction[tile], reference[tile]
