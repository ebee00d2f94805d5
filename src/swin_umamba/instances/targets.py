"""What a network learns of objects, made of instance maps: the classes, and the depth within each object.

The depth keeps objects apart that touch: it falls to its least where one meets another, whether or not a
pixel of boundary is left between them. It is made after all augmentation, because a depth that was scaled or
rotated with the image would be wrong.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage.segmentation import find_boundaries

from swin_umamba.data.instance_labels import BOUNDARY, INTERIOR, consecutive_labels, instances_to_classes
from swin_umamba.instances.decoding import ObjectClasses

DEPTH_SCALE = 1000
"""Depths are stored in thousandths, as 16-bit integers beside the classes."""


def depths_of(instances: np.ndarray) -> np.ndarray:
    """Return the depth within each object: the distance to what is not of it, over the largest of the object.

    Parameters
    ----------
    instances
        ``(y, x)``: the number of the object of each pixel, 0 for none. The border of the image is not one of
        an object that it cuts.

    Returns
    -------
    numpy.ndarray
        float32: 0 outside, up to 1 within; in an object all of whose pixels are at its border, 1.
    """
    compact, count = consecutive_labels(instances)
    if not count:
        return np.zeros(instances.shape, np.float32)
    # The nearest pixel at a border of any object is one of the own object: the way to another leads past it.
    border = find_boundaries(compact, mode="inner")
    distance = 1 + ndimage.distance_transform_edt(~border) if border.any() else np.ones(instances.shape)
    largest = np.ones(count + 1)
    np.maximum.at(largest, compact.ravel(), distance.ravel())
    depths: np.ndarray = (distance / largest[compact] * (compact > 0)).astype(np.float32)
    return depths


def targets_of(
    instances: np.ndarray, labels: np.ndarray, classes: ObjectClasses, ignore: int | None
) -> np.ndarray:
    """Return the targets of a patch.

    Parameters
    ----------
    instances
        ``(y, x)``.
    labels
        The label map of the patch: an object has the class that most of its pixels have there.
    classes
        What the values of the labels mean; with a boundary.
    ignore
        Value of pixels of which the truth is not known; None if there is none.

    Returns
    -------
    numpy.ndarray
        int16, ``(2, y, x)``: the class, and the depth in thousandths.
    """
    compact, count = consecutive_labels(instances)
    values = sorted(classes.names)
    votes = np.stack([np.bincount(compact[labels == value], minlength=count + 1) for value in values])
    of_object = np.array(values)[votes.argmax(axis=0)]
    parts = instances_to_classes(compact)
    target = np.where(parts == INTERIOR, of_object[compact], 0)
    target[parts == BOUNDARY] = classes.boundary
    if ignore is not None:
        target[labels == ignore] = ignore
    depths = np.rint(depths_of(compact) * DEPTH_SCALE)
    return np.stack([target, depths]).astype(np.int16)
