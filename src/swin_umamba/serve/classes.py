"""The classes of a model as in its label maps, and their share of an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from swin_umamba.data.image_io import Image
from swin_umamba.evaluation.statistics import MM3_IN_ML
from swin_umamba.report.palette import class_colour
from swin_umamba.report.svg import colour_text
from swin_umamba.serve.schema import ModelClass

if TYPE_CHECKING:
    from swin_umamba.inference.predictor import Predictor


@dataclass(frozen=True)
class ClassShare:
    """Size of a class in an image: in voxels, percent and, if the file has a spacing, millilitres."""

    voxels: int
    percent: float
    millilitres: float | None


def shown_classes(predictor: Predictor) -> tuple[ModelClass, ...]:
    """Return the foreground classes of a model, in the order of its outputs.

    The value of a region is that of the voxels that are in it and in no later region.
    """
    members = predictor.plans.classes
    return tuple(
        ModelClass(
            name=name, value=value, members=list(members[name]), colour=colour_text(class_colour(value))
        )
        for name, value in predictor.plans.label_values.items()
    )


def class_shares(labels: np.ndarray, classes: Sequence[ModelClass], image: Image) -> tuple[ClassShare, ...]:
    """Measure each class in a label map (integers, any shape) of ``image``."""
    counts = np.bincount(labels.ravel(), minlength=1 + max(max(each.members) for each in classes))
    voxel = image.pixel_size / MM3_IN_ML if image.has_spacing and labels.ndim == 3 else None
    shares = []
    for each in classes:
        voxels = int(counts[each.members].sum())
        volume = None if voxel is None else voxels * voxel
        shares.append(ClassShare(voxels, 100 * voxels / labels.size, volume))
    return tuple(shares)
