"""What the outputs of a network mean, as nnU-Net has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from swin_umamba.data.instance_labels import IGNORE_NAME

LABEL_MANAGER = "LabelManager"
"""The class of nnU-Net whose place ``Labels`` takes."""

Values = TypeVar("Values", Tensor, np.ndarray)


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
        groups = [
            [int(each) for each in value] if isinstance(value, list | tuple) else [int(value)]
            for name, value in labels.items()
            if name != IGNORE_NAME
        ]
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
