"""Interiors that grow into the boundary between them, over many tiles."""

from __future__ import annotations

import numpy as np

from swin_umamba.data.instance_labels import (
    BACKGROUND,
    CORNER_REACH,
    INTERIOR,
    MIN_INTERIOR_SIZE,
    cells_of,
    grow_from,
    with_small_interiors,
)
from swin_umamba.instances.tiles.components import Numbered, connected, identity, joined_maps
from swin_umamba.instances.tiles.stored import Read, Region, Workspace, common, within


def with_small_interiors_of(work: Workspace, parts: Read, markers: Numbered) -> Numbered:
    """Return the interiors together with those that the labels of small cells lack.

    A hole in the boundary is one by its size, below ``MIN_INTERIOR_SIZE``, and by the interiors within
    ``CORNER_REACH`` of it: a halo of both decides.
    """
    halo = MIN_INTERIOR_SIZE + 2 * CORNER_REACH

    def new(tile: Region) -> np.ndarray:
        window = work.around(tile, halo)
        before = parts(window)
        if not ((before == BACKGROUND).any() and before.any()):
            return np.zeros([part.stop - part.start for part in tile], bool)
        after = with_small_interiors(before, markers.read(window))
        found: np.ndarray = ((after == INTERIOR) & (before != INTERIOR))[within(tile, window)]
        return found

    # No new interior touches an old one: it is more than ``GAP_REACH`` steps away.
    return joined_maps(work, markers, connected(work, new, len(work.shape)))


def cells_within(work: Workspace, parts: Read, interiors: Numbered | None, rim: int) -> Read:
    """Return what reads the cells: all but background and the rim outside, see ``cells_of``."""

    def cells(region: Region) -> np.ndarray:
        window = work.around(region, rim)
        classes = parts(window)
        if interiors is not None:
            classes = np.where(interiors.read(window) > 0, classes.dtype.type(INTERIOR), classes)
        found: np.ndarray = cells_of(classes, rim)[within(region, window)]
        return found

    return cells


def grow_over(work: Workspace, markers: Numbered, cells: Read) -> Numbered:
    """Grow all markers at the same speed, as ``grow_from`` does in one array; takes the markers' place.

    A tile grows from its own markers and from what its neighbours' pixels beside it had reached, and when.
    Tiles whose neighbours have changed grow again until none changes. That is the only state in which
    each pixel is reached one step after the first of its neighbours, so the order of the tiles does not
    matter.
    """
    labels, steps = work.new(np.int32), work.new(np.int32)
    waiting = dict.fromkeys(range(len(work.tiles)))
    while waiting:
        number = next(iter(waiting))
        del waiting[number]
        tile = work.tiles[number]
        window = work.around(tile, 1)
        core = within(tile, window)
        old_labels, old_steps = labels.read(window), steps.read(window)
        own = markers.read(window)
        values, when = _joined_by(own, old_labels, old_steps, core)
        free = np.zeros(values.shape, bool)
        free[core] = cells(tile) & (values[core] == 0)
        values, when = grow_from(values, free, when)
        news = (own == 0) & (values > 0) & ((values != old_labels) | (when != old_steps))
        labels.write(number, values[core])
        steps.write(number, np.where(values > 0, when, 0)[core])
        for other, beside in enumerate(work.tiles):
            seen = common(work.around(beside, 1), tile)
            if other != number and seen is not None and news[within(seen, window)].any():
                waiting[other] = None
    steps.remove()
    markers.remove()
    return identity(labels, markers.count)


def _joined_by(
    own: np.ndarray, labels: np.ndarray, steps: np.ndarray, core: Region
) -> tuple[np.ndarray, np.ndarray]:
    """Return the markers of a window with what was reached around its core, and when each begins to grow."""
    around = (labels > 0) & (own == 0)
    around[core] = False
    return np.where(around, labels, own), np.where(around, steps, 0).astype(np.int32)
