"""The prediction of one image."""

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
        ``(Y, X)`` or ``(Z, Y, X)``, uint8 (uint16 from 255 classes up), on the grid of the input.
    probabilities
        ``(classes, Y, X)`` or ``(classes, Z, Y, X)``, float32: sums to 1 over the classes, or one independent
        probability per region. None unless asked for. They are the network's own, uncalibrated.
    image
        The image read, for its geometry; None if an array was given.
    confidence
        Confidence of the prediction. None unless asked for.
    instances
        Object number of each pixel, 0 for none, in the shape of ``labels``: uint16, or uint32 above 65,535
        objects. None unless asked for.
    objects
        A row for each object: size, place, shape, intensities. None unless asked for.
    depth
        Depth within the objects, float32 in the shape of ``labels``, if the model has learnt it.
    """

    labels: np.ndarray
    probabilities: np.ndarray | None = None
    image: Image | None = None
    confidence: Confidence | None = None
    instances: np.ndarray | None = None
    objects: ObjectTable | None = None
    depth: np.ndarray | None = None
