"""One colour an object: a map of few values that tells neighbours apart, drawn like a map of classes."""

from __future__ import annotations

import itertools

import numpy as np
from scipy import sparse

from swin_umamba.data.instance_labels import consecutive_labels
from swin_umamba.report.overlay import contours

# More would be harder to tell apart; further ones are taken where so many neighbours meet.
COLOURS = 12
# Objects of a picture up to so many pixels apart are neighbours, with room for the boundary between two.
REACH = 2


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


def _lower_neighbours(compact: np.ndarray, count: int) -> list[list[int]]:
    """Return the neighbours of lower number of each object of a map numbered without gaps."""
    reach = REACH if compact.ndim == 2 else 1
    padded = np.pad(compact, reach)
    border = np.flatnonzero(contours(padded))
    labels = padded.ravel()
    own = labels[border]
    strides = np.array(padded.strides) // padded.itemsize
    table = sparse.csr_array((count + 1, count + 1), dtype=bool)
    for offset in itertools.product(range(-reach, reach + 1), repeat=compact.ndim):
        other = labels[border + np.dot(offset, strides)]
        lower = (other > 0) & (other < own)
        pairs = own[lower], other[lower]
        table = table + sparse.csr_array((np.ones(len(pairs[0]), bool), pairs), shape=table.shape)
    return [each.tolist() for each in np.split(table.indices, table.indptr[2:-1])] if count else []
