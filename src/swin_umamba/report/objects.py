"""One colour an object: a map of few values that tells neighbours apart, drawn like a map of classes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import scipy

from swin_umamba.data.instance_labels import consecutive_labels
from swin_umamba.report.overlay import contours
from swin_umamba.report.palette import Colour, class_colour

# More would be harder to tell apart; further ones are taken where so many neighbours meet.
COLOURS = 12
# Objects of a picture up to so many pixels apart are neighbours, with room for the boundary between two.
REACH = 2
# Colours of stained cells need more than those of organs over grey.
OPACITY = 0.55


def told_apart(instances: np.ndarray) -> np.ndarray:
    """Return a map in which each object has one value, and neighbours have different ones.

    Each object takes the value of its rank among the numbers, in turns of ``COLOURS``, or the next that no
    neighbour of a lower number has: the same map gives the same values. The time goes with the pixels, and
    with the pairs of neighbours.

    Parameters
    ----------
    instances
        Integers, ``(y, x)`` or ``(z, y, x)``; 0 is the background. Objects of a picture are neighbours up to
        ``REACH`` pixels along each axis, those of a volume if they touch, by a corner at least.

    Returns
    -------
    numpy.ndarray
        int32, values from 1 for ``palette.class_colour``, in the shape of the map.
    """
    compact, count = consecutive_labels(instances)
    compact = compact.astype(np.int32)
    values = [0]
    turns = itertools.cycle(range(COLOURS))
    for first, below in zip(itertools.islice(turns, count), _lower_neighbours(compact, count), strict=True):
        taken = {values[each] for each in below}
        order = itertools.chain(range(first, COLOURS), range(first), itertools.count(COLOURS))
        values.append(next(value + 1 for value in order if value + 1 not in taken))
    result: np.ndarray = np.array(values, np.int32)[compact]
    return result


def coloured(values: np.ndarray, colours: Sequence[Colour] | None = None) -> np.ndarray:
    """Return a map ``(y, x)`` as a picture to lay over another: translucent, with wide opaque contours.

    Parameters
    ----------
    values
        Integers from 0 (transparent).
    colours
        Colour of each value from 1; by default those of classes.

    Returns
    -------
    numpy.ndarray
        uint8, ``(y, x, 4)``.
    """
    if colours is None:
        colours = [class_colour(value) for value in range(1, int(values.max(initial=0)) + 1)]
    picture = np.zeros((*values.shape, 4), np.uint8)
    picture[..., :3] = np.array([(0, 0, 0), *colours], np.uint8)[values]
    edge = scipy.ndimage.binary_dilation(contours(values))
    picture[..., 3] = np.where(edge, 255, round(255 * OPACITY)) * (values > 0)
    return picture


def _lower_neighbours(compact: np.ndarray, count: int) -> list[list[int]]:
    """Return the neighbours of lower number of each object of a map numbered without gaps."""
    reach = REACH if compact.ndim == 2 else 1
    padded = np.pad(compact, reach)
    border = np.flatnonzero(contours(padded))
    labels = padded.ravel()
    own = labels[border]
    strides = np.array(padded.strides) // padded.itemsize
    table = scipy.sparse.csr_array((count + 1, count + 1), dtype=bool)
    for offset in itertools.product(range(-reach, reach + 1), repeat=compact.ndim):
        other = labels[border + np.dot(offset, strides)]
        lower = (other > 0) & (other < own)
        pairs = own[lower], other[lower]
        table = table + scipy.sparse.csr_array((np.ones(len(pairs[0]), bool), pairs), shape=table.shape)
    return [each.tolist() for each in np.split(table.indices, table.indptr[2:-1])] if count else []
