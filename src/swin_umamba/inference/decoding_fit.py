"""Find the best way to turn a model's classes into objects, on cases it has not seen."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from swin_umamba.data.image_io import image_stem, list_images, read_labels
from swin_umamba.errors import DataError
from swin_umamba.evaluation.instances import score_instances
from swin_umamba.inference.objects import true_instances
from swin_umamba.instances.decoding import Decoding, ObjectClasses

logger = logging.getLogger(__name__)

SPLIT_DISTANCES = (None, 3, 5, 7, 10, 14, 20)
OUTER_RIMS = (1, 0)
FEWEST_CASES = 5
"""With fewer cases, the result is reported as little more than chance."""
F1 = "f1"


@dataclass(frozen=True)
class DecodingScore:
    """Score of one decoding.

    Attributes
    ----------
    decoding
        The decoding.
    f1
        Mean F1 at an IoU of 0.5 over the cases that have objects; NaN if none has.
    """

    decoding: Decoding
    f1: float

    def as_dict(self) -> dict[str, Any]:
        """Return distance, rim and score as plain data."""
        return {**asdict(self.decoding), "f1": self.f1}

    @property
    def is_default(self) -> bool:
        """Whether this is the decoding used without a calibration."""
        return self.decoding == Decoding()


class DecodingFit:
    """Scores each decoding, case by case.

    Parameters
    ----------
    classes
        The classes of the model.
    files
        File of the true instance map of each case.
    """

    def __init__(self, classes: ObjectClasses, files: Mapping[str, Path]) -> None:
        self._classes, self._files = classes, files
        ways = [Decoding(distance, rim) for rim, distance in product(OUTER_RIMS, SPLIT_DISTANCES)]
        self._f1: dict[Decoding, list[float]] = {way: [] for way in ways}

    def add(self, case: str, labels: np.ndarray, depth: np.ndarray | None = None) -> None:
        """Score the objects of a predicted label map; skip it with a warning if there is no true map."""
        try:
            truth = read_labels(self._files[case]).data[0] if case in self._files else None
        except DataError as error:
            logger.warning("the objects of a case are left out: %s", error)
            return
        if truth is None or truth.shape != labels.shape:
            logger.warning(
                "case %s has no map of its objects of this size, and is left out of their fit", case
            )
            return
        for way, scores in self._f1.items():
            instances, _ = self._classes.decode(labels, way, depth=depth)
            value = score_instances(instances, truth)[F1]
            if not math.isnan(value):
                scores.append(value)

    def scores(self) -> tuple[DecodingScore, ...]:
        """Return the scores, best first; among equals the default, then the one that cuts less."""
        count = len(next(iter(self._f1.values())))
        if not count:
            return ()
        if count < FEWEST_CASES:
            logger.warning("how to cut objects was found on %d cases: little more than chance", count)
        found = [DecodingScore(way, fmean(values)) for way, values in self._f1.items()]
        return tuple(sorted(found, key=lambda each: (-each.f1, not each.is_default)))


def decoding_fit(
    labels: Mapping[str, Any], references: Path, instances: str | Path | None
) -> DecodingFit | None:
    """Return a fit of the decoding; None if the model has no boundary class or there are no true objects.

    Parameters
    ----------
    labels
        The classes of the model, as in ``dataset.json``.
    references
        Folder of the true label maps.
    instances
        Folder of the true instance maps; None for ``instancesTr`` beside ``labelsTr``, if it exists.
    """
    if instances is None:
        classes, instances = ObjectClasses.find(labels), true_instances(references)
        if classes is None or classes.boundary is None or instances is None:
            return None
    else:
        classes = ObjectClasses.of(labels)
    return DecodingFit(classes, {image_stem(path): path for path in list_images(instances)})
