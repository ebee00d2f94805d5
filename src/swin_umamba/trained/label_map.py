"""What the outputs of a network mean, as nnU-Net has it, and the label map made of them part by part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from swin_umamba.data.instance_labels import IGNORE_NAME
from swin_umamba.nnunet.dataset_json import members_of

LABEL_MANAGER = "LabelManager"
"""The class of nnU-Net whose place ``Labels`` takes."""
# NumPy copies what it looks for the largest number in; parts of this many numbers keep the copies small.
NUMBERS_AT_ONCE = 2**20
EVERYWHERE = (slice(None), slice(None))


class Labels:
    """Classes or regions, and how label maps are made of logits and probabilities.

    What it has is called as in nnU-Net's ``LabelManager``, which computes the same; to import that takes
    seconds.

    Parameters
    ----------
    labels
        The entry of a checked ``dataset.json``: number of each label, or the numbers that a region unites.
    regions_class_order
        With regions, the label that marks each of them.

    Attributes
    ----------
    has_regions
        Whether the outputs are regions, which may overlap.
    ignore_label
        Number of unannotated pixels; None if there is none.
    foreground_labels
        All label numbers but 0.
    num_segmentation_heads
        Number of the network's outputs.
    """

    def __init__(self, labels: Mapping[str, Any], regions_class_order: Sequence[int] | None) -> None:
        groups = [members_of(value) for name, value in labels.items() if name != IGNORE_NAME]
        numbers = sorted({each for group in groups for each in group})
        self.has_regions = any(len(group) > 1 for group in groups)
        self.ignore_label: int | None = labels.get(IGNORE_NAME)
        self.foreground_labels = [number for number in numbers if number != 0]
        num_regions = sum(set(group) != {0} for group in groups)
        self.num_segmentation_heads = num_regions if self.has_regions else len(numbers)
        self._order = regions_class_order or ()

    def apply_inference_nonlin(self, logits: Tensor) -> Tensor:
        """Return the probabilities of logits ``(classes, ...)``, in the place of those in float32."""
        logits = logits.float()
        return logits.sigmoid_() if self.has_regions else torch.softmax(logits, 0, out=logits)

    def convert_logits_to_segmentation(self, logits: Tensor | np.ndarray) -> np.ndarray:
        """Return the labels that logits ``(classes, ...)`` decide for."""
        if self.has_regions:
            return self.convert_probabilities_to_segmentation(torch.sigmoid(torch.as_tensor(logits).float()))
        return self.convert_probabilities_to_segmentation(logits)

    def convert_probabilities_to_segmentation(self, probabilities: Tensor | np.ndarray) -> np.ndarray:
        """Return the labels that probabilities ``(classes, ...)`` decide for: later regions lie on top."""
        values = np.asarray(probabilities)
        if not self.has_regions:
            best: np.ndarray = values.argmax(0)
            return best
        labels = np.zeros(values.shape[1:], np.uint16)
        for region, label in zip(values, self._order, strict=True):
            labels[region > 0.5] = label
        return labels

    def revert_cropping_on_probabilities(
        self, probabilities: Tensor, box: Sequence[Sequence[int]], shape: Sequence[int]
    ) -> Tensor:
        """Return probabilities ``(classes, Z, Y, X)`` of a part on the whole: background is all around it."""
        whole = torch.zeros((len(probabilities), *shape), dtype=probabilities.dtype)
        if not self.has_regions:
            whole[0] = 1
        inside = (slice(None), *(slice(int(first), int(last)) for first, last in box))
        whole[inside] = probabilities
        return whole


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
