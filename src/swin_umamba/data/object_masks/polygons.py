"""Polygons as masks: a pixel is inside if its centre is, by the even-odd rule.

Coordinates are those of LabelMe, ImageJ, QuPath and COCO: (0, 0) is the upper left corner of the first pixel,
whose centre is (0.5, 0.5).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from swin_umamba.data.object_masks.object_map import OneObject

MOST_CROSSINGS = 2**27
"""Crossings of edges with pixel rows, each of which takes memory. An outline along pixel edges has two per
row of each piece."""
_FURTHEST = 2**31


def polygon_object(
    rings: Sequence[np.ndarray], shape: tuple[int, int], class_name: str | None, what: str
) -> OneObject:
    """Return the pixels inside the given rings.

    Parameters
    ----------
    rings
        Arrays ``(points, 2)``, x and y, float; closed or not. An area inside two of them is a hole.
    shape
        Rows and columns of the image; anything beyond counts only insofar as the mask is not empty.
    class_name, what
        See :class:`OneObject`.

    Raises
    ------
    ValueError
        A ring has fewer than three points, a coordinate is not a reasonable number, or there are too many
        edges; the message says which.
    """
    for ring in rings:
        if ring.ndim != 2 or ring.shape[1] != 2 or len(ring) < 3:
            raise ValueError(f"{what} is not a polygon: it needs three points with x and y")
        if not (np.abs(ring) < _FURTHEST).all():  # NaN, too
            raise ValueError(f"{what} has a point that is nowhere: {ring[~(np.abs(ring) < _FURTHEST)][0]}")
    if not rings:
        raise ValueError(f"{what} has no points")
    points = np.concatenate(rings)
    low, high = np.floor(points.min(axis=0)).astype(int), np.ceil(points.max(axis=0)).astype(int)
    height, width = shape
    if high[0] <= 0 or high[1] <= 0 or low[0] >= width or low[1] >= height:
        outside = np.ones((1, 1), bool)  # one pixel marks the place
        return OneObject(outside, (int(low[1]), int(low[0])), class_name, what)
    # One extra pixel around the image shows that the object extends beyond it.
    low = np.maximum(low, -1)
    high = np.minimum(high, (width + 1, height + 1))
    return OneObject(_even_odd(rings, low, high, what), (int(low[1]), int(low[0])), class_name, what)


def _even_odd(rings: Sequence[np.ndarray], low: np.ndarray, high: np.ndarray, what: str) -> np.ndarray:
    """Return the mask of the pixels from ``low`` to ``high`` (x, y)."""
    starts = np.concatenate(rings) - low
    ends = np.concatenate([np.roll(ring, -1, axis=0) for ring in rings]) - low
    width, height = (int(value) for value in high - low)
    upper, lower = np.minimum(starts[:, 1], ends[:, 1]), np.maximum(starts[:, 1], ends[:, 1])
    # Pixel rows whose centres lie in [upper, lower): each edge includes its upper end but not its lower one.
    first = np.clip(np.ceil(upper - 0.5), 0, height).astype(int)
    last = np.clip(np.ceil(lower - 0.5), 0, height).astype(int)
    counts = last - first
    if counts.sum() > MOST_CROSSINGS:
        raise ValueError(f"{what} has too many edges: they cross lines of pixels {counts.sum()} times")
    edge = np.repeat(np.arange(len(counts)), counts)
    line = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
    slope = (ends[edge] - starts[edge]).T
    x = starts[edge, 0] + (line + 0.5 - starts[edge, 1]) * slope[0] / slope[1]
    column = np.clip(np.ceil(x - 0.5), 0, width).astype(int)
    flips = np.bincount(line * (width + 1) + column, minlength=height * (width + 1))
    inside: np.ndarray = np.cumsum(flips.reshape(height, width + 1)[:, :width], axis=1) % 2 == 1
    return inside


def rectangle(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    """Return the corners of a rectangle, ``(4, 2)``."""
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float64)


def ellipse(x: float, y: float, radius_x: float, radius_y: float, points: int = 256) -> np.ndarray:
    """Return a polygon for an ellipse, ``(points, 2)``."""
    angles = np.arange(points) * (2 * np.pi / points)
    return np.stack([x + radius_x * np.cos(angles), y + radius_y * np.sin(angles)], axis=1)
