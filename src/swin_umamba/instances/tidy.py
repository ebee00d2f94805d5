"""Clean up instance maps: number objects by position, remove holes and specks."""

from __future__ import annotations

import numpy as np
import scipy

from swin_umamba.data.instance_labels import consecutive_labels
from swin_umamba.errors import UsageError


def ordered(instances: np.ndarray) -> np.ndarray:
    """Return the map with objects numbered from 1 without gaps, in raster order of their first pixels.

    Parameters
    ----------
    instances
        Integers of any shape; 0 is the background.

    Returns
    -------
    numpy.ndarray
        uint16, or uint32 above 65,535 objects.

    Raises
    ------
    UsageError
        The map holds no integers, or negative ones.
    """
    compact, count = consecutive_labels(instances)
    flat = compact.ravel()
    first = np.zeros(count + 1, np.intp)
    first[flat[::-1]] = np.arange(flat.size)[::-1]
    number = np.zeros(count + 1, np.uint16 if count <= np.iinfo(np.uint16).max else np.uint32)
    number[1 + np.argsort(first[1:])] = np.arange(1, count + 1)
    values: np.ndarray = number[compact]
    return values


def tidy(instances: np.ndarray, *, min_size: int = 1, fill_holes: bool = True) -> np.ndarray:
    """Return the map without small objects and with holes in objects filled; numbers do not change.

    Holes are filled first, so that they count towards the size, and again where a dropped small object left
    one.

    Parameters
    ----------
    instances
        Integers, ``(y, x)`` or ``(z, y, x)``; 0 is the background.
    min_size
        Smallest size in pixels, over all pieces of a number; smaller objects are dropped.
    fill_holes
        Whether to fill holes: background pixels connected over edges (faces), away from the image border,
        whose neighbours all belong to one object. The gap between an object and another inside it is not a
        hole.

    Raises
    ------
    UsageError
        ``min_size`` is below 1, or the map holds no integers, or negative ones.
    """
    if min_size < 1:
        raise UsageError(f"the smallest size of an object must be at least 1 pixel, not {min_size}")
    compact, count = consecutive_labels(instances)
    numbers = np.zeros(count + 1, instances.dtype)
    numbers[compact] = instances
    if fill_holes:
        compact = _filled(compact)
    small = np.bincount(compact.ravel(), minlength=count + 1) < min_size
    small[0] = False
    if small.any():
        compact = np.where(small[compact], 0, compact)
        if fill_holes:
            compact = _filled(compact)
    values: np.ndarray = numbers[compact]
    return values


def _filled(compact: np.ndarray) -> np.ndarray:
    """Return a map with its holes filled, visiting each once, however many objects there are."""
    patches, count = scipy.ndimage.label(compact == 0)
    lowest = np.full(count + 1, np.iinfo(np.int64).max)
    highest = np.zeros(count + 1, np.int64)
    note_objects_beside(patches, compact, lowest, highest)
    for axis in range(compact.ndim):
        for edge in (0, -1):
            if compact.shape[axis]:
                lowest[patches.take(edge, axis)] = 0
    fill = np.where(lowest == highest, highest, 0)
    return compact + fill[patches] if fill.any() else compact


def note_objects_beside(
    patches: np.ndarray, instances: np.ndarray, lowest: np.ndarray, highest: np.ndarray
) -> None:
    """Lower and raise the bounds of the numbers of the objects that lie beside each patch of background.

    Parameters
    ----------
    patches, instances
        Number of the patch and of the object of each pixel, 0 for none, of one shape.
    lowest, highest
        ``(patches + 1,)``, to change.
    """
    for axis in range(instances.ndim):
        for own, other in ((slice(1, None), slice(None, -1)), (slice(None, -1), slice(1, None))):
            here = (slice(None),) * axis + (own,)
            beside = instances[(slice(None),) * axis + (other,)]
            meet = (patches[here] > 0) & (beside > 0)
            np.minimum.at(lowest, patches[here][meet], beside[meet])
            np.maximum.at(highest, patches[here][meet], beside[meet])
