"""The classes of a model, as its label maps hold them, and how much of an image each takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from swin_umamba.data.image_io import Image
from swin_umamba.report.palette import class_colour
from swin_umamba.report.svg import colour_text

if TYPE_CHECKING:
    from swin_umamba.inference.predictor import Predictor

CUBIC_MM_PER_ML = 1000.0


@dataclass(frozen=True)
class ShownClass:
    """A foreground class.

    Attributes
    ----------
    name
        As in the model's ``dataset.json``.
    value
        Its label value; of a region, that of the voxels that are in it and in no later one.
    members
        All label values that belong to it: several for a region.
    colour
        ``#rrggbb``, the one that the report and the previews give it.
    """

    name: str
    value: int
    members: tuple[int, ...]
    colour: str


@dataclass(frozen=True)
class ClassShare:
    """How much of an image a class takes: in voxels, percent and, where the file has a grid, millilitres."""

    voxels: int
    percent: float
    millilitres: float | None


def shown_classes(predictor: Predictor) -> tuple[ShownClass, ...]:
    """Return the foreground classes of a model, in the order of its outputs."""
    plans = predictor.plans
    return tuple(
        ShownClass(name, value, plans.classes[name], colour_text(class_colour(value)))
        for name, value in plans.label_values.items()
    )


def class_shares(labels: np.ndarray, classes: Sequence[ShownClass], image: Image) -> tuple[ClassShare, ...]:
    """Measure each class in a label map (integers, any shape) of ``image``."""
    counts = np.bincount(labels.ravel(), minlength=1 + max(max(each.members) for each in classes))
    voxel = None
    if image.has_spacing and labels.ndim == 3:
        voxel = image.pixel_size / CUBIC_MM_PER_ML
    shares = []
    for each in classes:
        voxels = int(counts[list(each.members)].sum())
        volume = None if voxel is None else voxels * voxel
        shares.append(ClassShare(voxels, 100 * voxels / labels.size, volume))
    return tuple(shares)
