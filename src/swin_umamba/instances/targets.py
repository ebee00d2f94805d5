"""Training targets made from instance maps: the classes, and the depth within each object.

The depth separates touching objects: it is lowest where one meets another, whether or not a boundary pixel is
left between them. It is computed after all augmentation, because a depth scaled or rotated with the image
would be wrong.
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
    """Return the depth within each object: the distance to its outside, over the object's largest one.

    Parameters
    ----------
    instances
        ``(y, x)``: object number of each pixel, 0 for none. The image border does not count as the border of
        an object it cuts.

    Returns
    -------
    numpy.ndarray
        float32: 0 outside, up to 1 within; 1 in an object all of whose pixels are at its border.
    """
    compact, count = consecutive_labels(instances)
    if not count:
        return np.zeros(instances.shape, np.float32)
    # The nearest border pixel of any object is one of the object itself: the way to another crosses it.
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
        The label map of the patch: an object gets the class of most of its pixels there.
    classes
        Meaning of the label values; it must have a boundary.
    ignore
        Value of pixels whose truth is unknown; None if there is none.

    Returns
    -------
    numpy.ndarray
        int16, ``(2, y, x)``: the class, and the depth in thousandths.
    """
    compact, _ = consecutive_labels(instances)
    of_object = np.append(0, classes.classes_of(compact, labels))
    # The published labels make small interiors background, which would contradict the depth there.
    parts = instances_to_classes(compact, min_interior_size=1)
    target = np.where(parts == INTERIOR, of_object[compact], 0)
    target[parts == BOUNDARY] = classes.boundary
    if ignore is not None:
        target[labels == ignore] = ignore
    depths = np.rint(depths_of(compact) * DEPTH_SCALE)
    return np.stack([target, depths]).astype(np.int16)
