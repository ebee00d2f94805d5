"""Holes and specks of an instance map over many tiles: what ``instances.tidy`` does with a whole one."""

from __future__ import annotations

import numpy as np

from swin_umamba.instances.tidy import note_objects_beside
from swin_umamba.instances.tiles.components import Numbered, connected, identity
from swin_umamba.instances.tiles.stored import Region, Workspace


def tidied(work: Workspace, instances: Numbered, min_size: int) -> Numbered:
    """Return the map without small objects and with holes in objects filled; takes its place.

    Holes of any size are found: background connected over any number of tiles, which touches one object
    and not the border of the image.
    """
    instances = _filled(work, instances)
    sizes = np.zeros(instances.count + 1, np.int64)
    for tile in work.tiles:
        sizes += np.bincount(instances.read(tile).ravel(), minlength=len(sizes))
    small = (sizes > 0) & (sizes < min_size)
    small[0] = False
    if not small.any():
        return instances
    kept = np.where(small, 0, np.arange(len(small)))[instances.numbers]
    return _filled(work, Numbered(instances.stored, kept, instances.count))


def _filled(work: Workspace, instances: Numbered) -> Numbered:
    holes = connected(work, lambda tile: instances.read(tile) == 0, 1)
    lowest = np.full(holes.count + 1, np.iinfo(np.int64).max)
    highest = np.zeros(holes.count + 1, np.int64)
    for tile in work.tiles:
        window = work.around(tile, 1)
        patches, objects = holes.read(window), instances.read(window)
        note_objects_beside(patches, objects, lowest, highest)
        for axis in range(objects.ndim):
            if window[axis].start == 0:
                lowest[patches.take(0, axis)] = 0
            if window[axis].stop == work.shape[axis]:
                lowest[patches.take(-1, axis)] = 0
    fill = np.where(lowest == highest, highest, 0)
    if not fill.any():
        holes.remove()
        return instances

    def values(tile: Region) -> np.ndarray:
        filled: np.ndarray = instances.read(tile) + fill[holes.read(tile)]
        return filled

    stored = work.filled(np.int32, values)
    instances.remove()
    holes.remove()
    return identity(stored, instances.count)
