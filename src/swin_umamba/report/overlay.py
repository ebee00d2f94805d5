"""Drawing a label map over its image."""

from __future__ import annotations

import numpy as np
import scipy

from swin_umamba.errors import GeometryError
from swin_umamba.report.palette import class_colour

# Intensities outside these percentiles are black and white; otherwise single bright voxels would hide the
# rest.
CONTRAST_PERCENTILES = (0.5, 99.5)
FILL_OPACITY = 0.35
# Opacity of the black halo around a label, whose colour may be that of the tissue.
HALO_OPACITY = 0.5


def to_rgb(image: np.ndarray, window: tuple[float, float] | None = None) -> np.ndarray:
    """Return a picture of an image with percentile contrast.

    Parameters
    ----------
    image
        Image, ``(channels, y, x)``, of any real dtype. Three uint8 channels are kept as colours; of other
        images, the first channel is shown in grey.
    window
        Intensities that become black and white, see :func:`contrast_window`; by default those of the image.

    Returns
    -------
    numpy.ndarray
        uint8, ``(y, x, 3)``.
    """
    if is_colour(image):
        return np.ascontiguousarray(image.transpose(1, 2, 0))
    low, high = contrast_window(image[0]) if window is None else window
    grey = image[0].astype(np.float64)
    scaled = (grey - low) / (high - low) if high > low else np.zeros_like(grey)
    return np.repeat(np.round(np.clip(scaled, 0, 1) * 255).astype(np.uint8)[..., None], 3, axis=2)


def is_colour(image: np.ndarray) -> bool:
    """Return whether an image ``(channels, ...)`` is in colour: three channels of uint8."""
    return image.shape[0] == 3 and image.dtype == np.uint8


def contrast_window(grey: np.ndarray) -> tuple[float, float]:
    """Return the intensities of one channel, of any shape, that become black and white."""
    grey = grey.astype(np.float64)
    low, high = np.percentile(grey, CONTRAST_PERCENTILES)
    if high <= low:
        low, high = grey.min(), grey.max()
    return float(low), float(high)


def overlay(image: np.ndarray, labels: np.ndarray, *, contour_width: int = 1) -> np.ndarray:
    """Draw a label map over an image: a translucent fill, and a solid contour inside the edge of each class.

    A dark halo around all classes keeps contours visible on tissue of the same colour.

    Parameters
    ----------
    image
        ``(channels, y, x)``; see :func:`to_rgb`.
    labels
        Label map of integers, ``(y, x)``; 0 is not drawn.
    contour_width
        Width of contour and halo in pixels; contours are inside the class, the halo is outside of all
        classes.

    Returns
    -------
    numpy.ndarray
        uint8, ``(y, x, 3)``.
    """
    if labels.shape != image.shape[1:]:
        raise GeometryError(
            f"labels of shape {labels.shape} do not match the image of shape {image.shape[1:]}"
        )
    picture = to_rgb(image).astype(np.float64)
    edge = contours(labels)
    if contour_width > 1:
        edge = scipy.ndimage.binary_dilation(edge, iterations=contour_width - 1)
    labelled = labels > 0
    halo = scipy.ndimage.binary_dilation(labelled, iterations=contour_width) & ~labelled
    picture[halo] *= 1 - HALO_OPACITY
    for label in np.unique(labels[labelled]).tolist():
        colour = np.array(class_colour(label), np.float64)
        inside = labels == label
        picture[inside] += FILL_OPACITY * (colour - picture[inside])
        picture[inside & edge] = colour
    return np.round(picture).astype(np.uint8)


def contours(labels: np.ndarray) -> np.ndarray:
    """Return where a labelled pixel has one of its four (voxel: six) neighbours in another class; boolean."""
    edge = np.zeros(labels.shape, bool)
    for axis in range(labels.ndim):
        front = [slice(None)] * labels.ndim
        back = [slice(None)] * labels.ndim
        front[axis], back[axis] = slice(1, None), slice(None, -1)
        differs = labels[tuple(front)] != labels[tuple(back)]
        edge[tuple(front)] |= differs
        edge[tuple(back)] |= differs
    return edge & (labels > 0)


def fullest_slice(labels: np.ndarray) -> int:
    """Return the index along the first axis of labels ``(z, y, x)`` with the most labelled voxels."""
    return int(np.argmax(np.count_nonzero(labels, axis=(1, 2))))
