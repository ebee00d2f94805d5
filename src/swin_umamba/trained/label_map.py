"""The label map of a predicted image, made of logits or probabilities part by part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from swin_umamba.trained.labels import Labels

# NumPy copies what it looks for the largest number in; parts of this many numbers keep the copies small.
NUMBERS_AT_ONCE = 2**20
EVERYWHERE = (slice(None), slice(None))


class LabelMap:
    """A label map in nnU-Net's dtype, 0 where nnU-Net has cropped the image.

    Parameters
    ----------
    labels
        What the classes of the network mean.
    properties
        What nnU-Net's preprocessing has returned of the image.
    transpose_backward
        Order of the axes that undoes that of the preprocessing.
    """

    def __init__(
        self, labels: Labels, properties: Mapping[str, Any], transpose_backward: Sequence[int]
    ) -> None:
        self._labels, self._backward = labels, transpose_backward
        dtype = np.uint8 if len(labels.foreground_labels) < 255 else np.uint16
        self._whole = np.zeros(properties["shape_before_cropping"], dtype)
        self._inside = self._whole[box_of(properties)]

    def put_logits(self, place: tuple[slice, slice], logits: Tensor | np.ndarray) -> None:
        """Decide on the pixels at a place in (Z, Y) of the cropped image, given ``(classes, z, y, x)``."""
        self._put(place, logits, self._labels.convert_logits_to_segmentation)

    def put_probabilities(self, probabilities: Tensor) -> None:
        """Decide on all pixels of the cropped image, given ``(classes, Z, Y, X)``."""
        self._put(EVERYWHERE, probabilities, self._labels.convert_probabilities_to_segmentation)

    def _put(
        self, place: tuple[slice, slice], values: Tensor | np.ndarray, decide: Callable[[Any], Any]
    ) -> None:
        target = self._inside[place]
        height = max(1, NUMBERS_AT_ONCE // (values.shape[0] * values.shape[3]))
        for number in range(len(target)):
            for top in range(0, target.shape[1], height):
                lines = slice(top, top + height)
                target[number, lines] = decide(values[:, number, lines])

    def finished(self) -> np.ndarray:
        """Return the label map ``(z, y, x)`` of the whole image."""
        turned: np.ndarray = self._whole.transpose(self._backward)
        return turned


def box_of(properties: Mapping[str, Any]) -> tuple[slice, ...]:
    """Return the part of the image that nnU-Net's preprocessing has kept, as an index."""
    return tuple(slice(int(first), int(last)) for first, last in properties["bbox_used_for_cropping"])


def foreground_of(logits: Tensor | np.ndarray) -> np.ndarray:
    """Return the probability of not being background, float32 ``(z, y, x)``, of classes that do not overlap.

    A pixel's number depends on its logits alone: PyTorch's softmax rounds differently where an array ends.
    """
    values = np.asarray(logits)
    channels, depth, rows, columns = values.shape
    found = np.empty((depth, rows, columns), np.float32)
    height = max(1, NUMBERS_AT_ONCE // (channels * columns))
    for number in range(depth):
        for top in range(0, rows, height):
            lines = np.ascontiguousarray(values[:, number, top : top + height], np.float32)
            parts = np.exp(lines - lines.max(axis=0))
            total = parts[0].copy()
            for part in parts[1:]:
                total += part
            found[number, top : top + height] = 1 - parts[0] / total
    return found
