"""What a prediction of one image holds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from swin_umamba.confidence.estimate import Confidence
from swin_umamba.data.image_io import Image
from swin_umamba.instances.table import ObjectTable


@dataclass(frozen=True)
class Prediction:
    """A segmented image.

    Attributes
    ----------
    labels
        ``(Y, X)`` or ``(Z, Y, X)``, uint8 (uint16 from 255 classes on), on the grid of the input.
    probabilities
        ``(classes, Y, X)`` or ``(classes, Z, Y, X)``, float32: sums to 1 over the classes, or one independent
        probability per region. None unless asked for. They are the network's own, without a calibration.
    image
        The image that was read, for its geometry; None if an array was given.
    confidence
        How sure the prediction is. None unless asked for.
    instances
        The number of the object of each pixel, 0 for none, in the shape of ``labels``: uint16, uint32 above
        65,535 objects. None unless asked for.
    objects
        A line for each of them: size, place, shape, intensities. None unless asked for.
    depth
        Depth within the objects, float32 in the shape of ``labels``, of a model that has learnt it.
    """

    labels: np.ndarray
    probabilities: np.ndarray | None = None
    image: Image | None = None
    confidence: Confidence | None = None
    instances: np.ndarray | None = None
    objects: ObjectTable | None = None
    depth: np.ndarray | None = None
