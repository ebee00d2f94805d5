"""The outlines of objects as polygons along pixel edges; filling them gives the same pixels again.

Corners are integers: pixel ``(y, x)`` covers the square from ``(x, y)`` to ``(x + 1, y + 1)``. A shared
corner does not join pixels: unless connected elsewhere, they belong to two polygons. So each ring is simple
(it passes no point twice), holes lie inside their polygon and touch it only at corners, and the polygons of
an object share nothing but corners: all are valid under OGC's Simple Features.
"""

from __future__ import annotations

import numpy as np

from swin_umamba.data.instance_labels import check_numbers
from swin_umamba.errors import UsageError

Polygon = tuple[np.ndarray, ...]
"""Rings ``(corners + 1, 2)`` of int64 x and y; the outer one first, the last corner equal to the first.

Only turns are corners. On screen (y points down) outer rings run clockwise, holes counter-clockwise.
"""

# The edges of a pixel in the order of a walk around it that keeps it on the right: top, right, bottom, left.
# For each, the neighbour beyond, the direction and the starting corner, all as (y, x).
_BEYOND = ((-1, 0), (0, 1), (1, 0), (0, -1))
_AHEAD = ((0, 1), (1, 0), (0, -1), (-1, 0))
_BEGIN = ((0, 0), (0, 1), (1, 1), (1, 0))


def outlines_of(instances: np.ndarray) -> dict[int, tuple[Polygon, ...]]:
    """Return the outline of every object of a map, by ascending number.

    An object of several pieces has several polygons, in raster order of their first pixels, as are the holes
    within each. Time grows with the pixels of the map and the edges around objects.

    Parameters
    ----------
    instances
        Integers, ``(y, x)``; 0 is the background.

    Raises
    ------
    UsageError
        The map is not 2D, or holds values that are negative or not integers.
    """
    from skimage.measure import label

    check_numbers(instances)
    if instances.ndim != 2:
        raise UsageError(
            f"outlines are those of flat maps, not of {instances.ndim} axes",
            hint="take the instance map of a volume itself, or its slices",
        )
    pieces = np.pad(label(instances, connectivity=1), 1)
    pixel, side, after = _edges(pieces)
    if not len(pixel):
        return {}
    order, starts = _walk(after)
    pixel, side = pixel[order], side[order]
    y, x = np.divmod(pixel, pieces.shape[1])
    begin = np.array(_BEGIN)[side]
    corners = np.stack([x - 1 + begin[:, 1], y - 1 + begin[:, 0]], axis=1)
    # Summed over vertical edges, x counts + on the way down and - on the way up: the area, negative for a
    # hole.
    signed = corners[:, 0] * ((side == 1).astype(np.int64) - (side == 3))
    hole = np.add.reduceat(signed, starts) < 0
    before = np.roll(side, 1)
    before[starts] = side[np.append(starts[1:], len(side)) - 1]
    turn = side != before
    of_ring = np.cumsum(np.isin(np.arange(len(side)), starts))[turn] - 1
    rings = np.split(corners[turn], np.flatnonzero(np.diff(of_ring)) + 1)
    piece = pieces.ravel()[pixel[starts]]
    number = instances[y[starts] - 1, x[starts] - 1]
    outlines: dict[int, list[list[np.ndarray]]] = {}
    for ring in np.lexsort((pixel[starts], hole, piece, number)).tolist():
        polygons = outlines.setdefault(int(number[ring]), [])
        if not hole[ring]:
            polygons.append([])
        polygons[-1].append(np.concatenate([rings[ring], rings[ring][:1]]))
    return {number: tuple(map(tuple, polygons)) for number, polygons in outlines.items()}


def _edges(pieces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the edges between each piece and its surroundings, seen from either side.

    Parameters
    ----------
    pieces
        Numbers of edge-connected pieces, framed by background.

    Returns
    -------
    tuple of numpy.ndarray
        For each edge, the flat index of its pixel, which of the pixel's four sides it is, and the index of
        the next edge on the walk around the piece.
    """
    flat, width = pieces.ravel(), pieces.shape[1]
    beyond, ahead = ([y * width + x for y, x in steps] for steps in (_BEYOND, _AHEAD))
    inside = np.flatnonzero(flat)
    pixels = [inside[flat[inside] != flat[inside + step]] for step in beyond]
    first = np.cumsum([0, *map(len, pixels)])
    after = []
    for side, here in enumerate(pixels):
        straight, across = here + ahead[side], here + ahead[side] + beyond[side]
        # At a corner where the piece meets itself, cross over to the diagonal pixel: otherwise a hole that
        # touches the outside there would become part of the outer ring.
        left = flat[across] == flat[here]
        on = ~left & (flat[straight] == flat[here])
        follows = np.empty(len(here), np.int64)
        for chosen, target, turned in ((left, across, 3), (on, straight, 0), (~left & ~on, here, 1)):
            towards = (side + turned) % 4
            follows[chosen] = first[towards] + np.searchsorted(pixels[towards], target[chosen])
        after.append(follows)
    sides = np.repeat(np.arange(4), [len(each) for each in pixels])
    return np.concatenate(pixels), sides, np.concatenate(after)


def _walk(after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a permutation of the edges, ring by ring in walking order, and where each ring begins in it.

    All rings are walked at once, in doubling steps (Wyllie's list ranking).
    """
    every = np.arange(len(after))
    first, jump = every, after
    while not np.array_equal(smaller := np.minimum(first, first[jump]), first):
        first, jump = smaller, jump[jump]
    is_last = after == first
    left, jump = np.where(is_last, 0, 1), np.where(is_last, every, after)
    while not is_last[jump].all():
        left, jump = left + left[jump], jump[jump]
    begins = np.flatnonzero(first == every)
    lengths = left[begins] + 1
    starts = np.cumsum(lengths) - lengths
    start_of = np.zeros(len(after), np.int64)
    start_of[begins] = starts
    order = np.empty(len(after), np.int64)
    order[start_of[first] + left[first] - left] = every
    return order, starts
