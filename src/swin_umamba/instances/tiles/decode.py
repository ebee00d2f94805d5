"""The objects of a label map of any size: those that ``ObjectClasses.decode`` finds in the whole."""

from __future__ import annotations

import numpy as np
import skimage

from swin_umamba.data.instance_labels import BOUNDARY, INTERIOR
from swin_umamba.instances.decoding import (
    DEPTH_SMOOTHING,
    Decoding,
    ObjectClasses,
    objects_of_smooth_depth,
    smoothed,
)
from swin_umamba.instances.tiles.components import (
    Numbered,
    check_size,
    connected,
    groups_of,
    identity,
    joined_maps,
)
from swin_umamba.instances.tiles.growth import cells_within, grow_over, with_small_interiors_of
from swin_umamba.instances.tiles.holes import tidied
from swin_umamba.instances.tiles.splitting import split_over
from swin_umamba.instances.tiles.stored import Read, Region, StoredTiles, Workspace, size_of, within


def decode_over(
    work: Workspace,
    labels: Read,
    classes: ObjectClasses,
    decoding: Decoding,
    *,
    min_size: int,
    depth: Read | None = None,
) -> tuple[StoredTiles, int]:
    """Return the instance map of a label map, of which only tiles are ever in memory, and its largest number.

    Parameters are those of ``ObjectClasses.decode``, but that regions of the maps are read. The result is the
    same, to the number of each object. Connected parts of any size are found; only what is cut at a neck or
    told apart by depth has to fit into ``MOST_PIXELS``.

    Raises
    ------
    DataError
        It does not.
    """
    interiors = list(classes.names)
    if classes.boundary is None and decoding.split_distance is None:
        kinds = connected(
            work, lambda part: np.where(np.isin(found := labels(part), interiors), found, 0), len(work.shape)
        )
        return _ordered(work, tidied(work, kinds, min_size))

    def parts(region: Region) -> np.ndarray:
        found = labels(region)
        values = np.where(np.isin(found, interiors), INTERIOR, 0).astype(np.uint8)
        if classes.boundary is not None:
            values[found == classes.boundary] = BOUNDARY
        return values

    rim, distance = (0 if classes.boundary is None else decoding.outer_rim), decoding.split_distance
    if classes.boundary is None or depth is None:
        instances = _instances_of(work, parts, rim, distance)
    else:
        instances = _of_depth(work, cells_within(work, parts, None, rim), depth)
        if distance is not None:
            by_depth = instances
            instances = _instances_of(work, lambda region: _edged(work, by_depth, region), 0, distance)
            by_depth.remove()
    return _ordered(work, tidied(work, instances, min_size))


def _instances_of(work: Workspace, parts: Read, rim: int, distance: int | None) -> Numbered:
    """Return what ``classes_to_instances`` makes of the parts of cells."""
    everywhere = len(work.shape)
    markers = connected(work, lambda tile: parts(tile) == INTERIOR, everywhere)
    if rim:
        markers = with_small_interiors_of(work, parts, markers)
    interiors = markers if not rim else _copy(work, markers)
    if distance is not None:
        markers = split_over(work, markers, distance)
    cells = cells_within(work, parts, interiors if rim else None, rim)
    instances = grow_over(work, markers, cells)
    others = connected(work, lambda tile: cells(tile) & (instances.read(tile) == 0), everywhere)
    if rim:
        interiors.remove()
    return joined_maps(work, instances, others)


def _copy(work: Workspace, markers: Numbered) -> Numbered:
    """Return where the interiors are, which stays when they grow."""
    return identity(work.filled(np.uint8, lambda tile: markers.read(tile) > 0), 1)


def _of_depth(work: Workspace, cells: Read, depth: Read) -> Numbered:
    """Return what ``objects_of_depth`` makes of cells: by connected cells, which do not touch each other."""
    things = connected(work, cells, len(work.shape))
    stored, count = work.new(np.int32), 0
    halo = int(4 * DEPTH_SMOOTHING + 0.5)  # where SciPy ends the Gaussian
    for group in groups_of(work, things, np.ones(things.count + 1, bool)):
        check_size(
            group.region,
            "a group of touching cells",
            "predict the image without --blocks, or a part of it: --roi",
        )
        window = work.around(group.region, halo)
        smooth = smoothed(depth(window))[within(group.region, window)]
        mask = group.mask(things.read(group.region))
        found = objects_of_smooth_depth(mask, smooth)
        stored.update(group.region, found + count, mask)
        count += int(found.max())
    things.remove()
    return identity(stored, count)


def _edged(work: Workspace, instances: Numbered, region: Region) -> np.ndarray:
    """Return the parts of objects that are told apart: interior, and boundary at their edges."""
    window = work.around(region, 1)
    found = instances.read(window)
    edges = skimage.segmentation.find_boundaries(found, mode="inner")
    values = np.where(found > 0, np.where(edges, BOUNDARY, INTERIOR), 0).astype(np.uint8)
    return values[within(region, window)]


def _ordered(work: Workspace, instances: Numbered) -> tuple[StoredTiles, int]:
    """Return the map with objects numbered from 1 without gaps, in raster order of their first pixels."""
    nowhere = np.iinfo(np.int64).max
    first = np.full(instances.count + 1, nowhere)
    for tile in work.tiles:
        values = instances.read(tile)
        present, place = np.unique(values, return_index=True)
        at = [
            part + whole.start
            for part, whole in zip(np.unravel_index(place, size_of(tile)), tile, strict=True)
        ]
        first[present] = np.minimum(first[present], np.ravel_multi_index(at, work.shape))
    first[0] = nowhere
    count = int((first < nowhere).sum())
    numbers = np.zeros(instances.count + 1, np.uint32)
    numbers[np.argsort(first, kind="stable")[:count]] = np.arange(1, count + 1)
    stored = work.filled(np.uint32, lambda tile: numbers[instances.read(tile)])
    instances.remove()
    return stored, count
