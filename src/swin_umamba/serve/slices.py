"""One slice of a result for display: a picture, and each class as paths over it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL.Image import Resampling

from swin_umamba.report.layers import data_uri, fill_path, outline_path
from swin_umamba.report.palette import object_colours, uncertainty_colours
from swin_umamba.report.preview import picture_size, resized
from swin_umamba.serve.objects import INSTANCES_ARRAY
from swin_umamba.serve.schema import ModelClass, SliceAnswer, SliceLayer, SliceObjects
from swin_umamba.serve.segment import LABELS, UNCERTAINTY, Result

LONGEST_SIDE = 1024
SHORTEST_LONG_SIDE = 64
# Limit for all paths of a slice together: ragged labels are scaled down until they fit.
MAX_PATH_CHARACTERS = 2**22


def slice_picture(
    result: Result, classes: Sequence[ModelClass], index: int, view: int, *, objects: bool = False
) -> SliceAnswer:
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
        size = picture_size(labels.shape, longest=longest)
        shown = resized(labels, size)
        layers, outline = ([], outline_path(shown)) if objects else (_layers(shown, classes), "")
        longest = longest * 2 // 3
        characters = len(outline) + sum(len(layer.fill) + len(layer.outline) for layer in layers)
        if characters <= MAX_PATH_CHARACTERS or longest < SHORTEST_LONG_SIDE:
            break
    picture = resized(image[..., 0] if image.shape[-1] == 1 else image, size, Resampling.BOX)
    if picture.ndim == 2:
        picture = np.repeat(picture[..., None], 3, axis=2)
    unsure = None
    if uncertainty is not None:
        parts = resized(uncertainty, size, Resampling.BOX) / 255
        unsure = data_uri(uncertainty_colours(parts), lossless=True)
    drawn = data_uri(object_colours(shown), lossless=True) if objects else ""
    return SliceAnswer(
        index=index,
        width=size[0],
        height=size[1],
        aspect=result.aspect,
        picture=data_uri(picture),
        layers=layers,
        uncertainty=unsure,
        objects=SliceObjects(fill=drawn, outline=outline) if objects else None,
    )


def _slice(result: Result, name: str, index: int) -> np.ndarray:
    return np.array(np.load(result.folder / name, mmap_mode="r")[index])


def _layers(labels: np.ndarray, classes: Sequence[ModelClass]) -> list[SliceLayer]:
    masks = ((each.value, np.isin(labels, each.members)) for each in classes)
    return [
        SliceLayer(value=value, fill=fill_path(mask), outline=outline_path(mask))
        for value, mask in masks
        if mask.any()
    ]
