"""One slice of a result for display: a picture, and each class as paths over it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image as PillowImage

from swin_umamba.report.layers import data_uri, fill_path, outline_path
from swin_umamba.report.palette import object_colours, uncertainty_colours
from swin_umamba.serve.classes import ShownClass
from swin_umamba.serve.objects import INSTANCES_ARRAY
from swin_umamba.serve.segment import LABELS, UNCERTAINTY, Result

LONGEST_SIDE = 1024
SHORTEST_LONG_SIDE = 64
# Limit for all paths of a slice together: ragged labels are scaled down until they fit.
MAX_PATH_CHARACTERS = 2**22


@dataclass(frozen=True)
class Layer:
    """A class of a slice; both paths are in pixels of the picture."""

    value: int
    fill: str
    outline: str


@dataclass(frozen=True)
class Objects:
    """The objects of a slice: a data URI with one colour an object, and the path of all outlines."""

    fill: str
    outline: str


@dataclass(frozen=True)
class SlicePicture:
    """A slice for display.

    Attributes
    ----------
    width, height
        Size of the picture in pixels: that of the slice, or less.
    picture
        Data URI, without labels.
    layers
        One for each class in the slice; none if objects are drawn.
    uncertainty
        Data URI of an overlay that is transparent where the labels are certain; or None.
    objects
        None if classes are drawn.
    """

    width: int
    height: int
    picture: str
    layers: tuple[Layer, ...]
    uncertainty: str | None
    objects: Objects | None


def slice_picture(
    result: Result, classes: Sequence[ShownClass], index: int, view: int, *, objects: bool = False
) -> SlicePicture:
    """Draw a slice.

    Parameters
    ----------
    result
        The result; only this slice of its arrays is read from its folder.
    classes
        Classes of the model.
    index, view
        Index of the slice, and of the view in ``result.views``; both exist.
    objects
        Draw the objects, which exist, instead of the classes: both would seldom fit.

    Raises
    ------
    FileNotFoundError
        If the result is being deleted.
    """
    image = _slice(result, f"view_{view}.npy", index)
    labels = _slice(result, INSTANCES_ARRAY if objects else LABELS, index)
    uncertainty = None if result.quality is None else _slice(result, UNCERTAINTY, index)
    longest = LONGEST_SIDE
    while True:
        size = _shown_size(labels.shape, longest)
        shown = _resized(labels, size, PillowImage.Resampling.NEAREST)
        layers, outline = ((), outline_path(shown)) if objects else (_layers(shown, classes), "")
        longest = longest * 2 // 3
        characters = len(outline) + sum(len(layer.fill) + len(layer.outline) for layer in layers)
        if characters <= MAX_PATH_CHARACTERS or longest < SHORTEST_LONG_SIDE:
            break
    picture = _resized(image[..., 0] if image.shape[-1] == 1 else image, size, PillowImage.Resampling.BOX)
    if picture.ndim == 2:
        picture = np.repeat(picture[..., None], 3, axis=2)
    return SlicePicture(
        width=size[0],
        height=size[1],
        picture=data_uri(picture),
        layers=layers,
        uncertainty=None
        if uncertainty is None
        else data_uri(
            uncertainty_colours(_resized(uncertainty, size, PillowImage.Resampling.BOX) / 255), lossless=True
        ),
        objects=Objects(data_uri(object_colours(shown), lossless=True), outline) if objects else None,
    )


def _slice(result: Result, name: str, index: int) -> np.ndarray:
    return np.array(np.load(result.folder / name, mmap_mode="r")[index])


def _shown_size(shape: Sequence[int], longest: int) -> tuple[int, int]:
    """Return width and height of the picture of a slice of ``shape`` (y, x); it is never enlarged."""
    scale = min(1.0, longest / max(shape))
    return max(1, round(shape[1] * scale)), max(1, round(shape[0] * scale))


def _resized(array: np.ndarray, size: tuple[int, int], method: PillowImage.Resampling) -> np.ndarray:
    if array.shape[1::-1] == size:
        return array
    return np.asarray(PillowImage.fromarray(array).resize(size, method))


def _layers(labels: np.ndarray, classes: Sequence[ShownClass]) -> tuple[Layer, ...]:
    layers = []
    for each in classes:
        mask = np.isin(labels, each.members)
        if mask.any():
            layers.append(Layer(each.value, fill_path(mask), outline_path(mask)))
    return tuple(layers)
