"""Interiors cut at their necks, over many tiles."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import scipy

from swin_umamba.data.instance_labels import flood, highest_within, smooth_depth
from swin_umamba.errors import DataError
from swin_umamba.instances.tiles.components import MOST_PIXELS, Numbered, check_size, groups_of, identity
from swin_umamba.instances.tiles.stored import Region, Workspace, grown, size_of, within

_FIRST_HALO = 32
_HINT = "do not cut objects: --split-distance 0; or predict a part of the image: --roi"


def split_over(work: Workspace, markers: Numbered, distance: int) -> Numbered:
    """Cut components that have several centres; takes the markers' place.

    Raises
    ------
    DataError
        A component to cut has a box of more than ``MOST_PIXELS``, or is so thick that its depth cannot be
        computed in as many.
    """
    places, owners = _peaks(work, markers, distance)
    centres = _centres(places, distance)
    kept = centres > 0
    places, owners, centres = places[kept], owners[kept], centres[kept]
    _, first = np.unique(centres, return_index=True)
    several = np.bincount(owners[first], minlength=markers.count + 1) > 1
    if not several.any():
        return markers
    stored = work.filled(np.int32, lambda tile: np.where(several[read := markers.read(tile)], 0, read))
    for group in groups_of(work, markers, several):
        check_size(group.region, "an object to cut", _HINT)
        mask = group.mask(markers.read(group.region))
        inside = _lies_in(places, group.region) & group.mask(owners)
        seeds = np.zeros(mask.shape, np.int64)
        seeds[tuple((places[inside] - [part.start for part in group.region]).T)] = centres[inside]
        parts = flood(-_depth(work, markers, group.region, distance), seeds, mask, mask.ndim)
        stored.update(group.region, parts + markers.count, mask)
    markers.remove()
    return identity(stored, markers.count + int(centres.max()))


def _depth(work: Workspace, markers: Numbered, region: Region, distance: int) -> np.ndarray:
    """Return the part of ``smooth_depth`` of the whole map in a region.

    The window around it is as large as the depths in it are exact: no pixel outside of it is nearer than the
    nearest one outside the objects in it.
    """
    needed = grown(region, distance + 1, work.shape)
    halo = _FIRST_HALO
    while True:
        window = grown(needed, halo, work.shape)
        whole = size_of(window) == work.shape
        if math.prod(size_of(window)) > 2 * MOST_PIXELS:
            raise DataError(f"an object is more than {halo} pixels deep at {region}", hint=_HINT)
        inside = markers.read(window) > 0
        if whole or _is_known(inside, within(needed, window), halo):
            return smooth_depth(inside, distance)[within(region, window)]
        halo *= 2


def _is_known(inside: np.ndarray, needed: Region, halo: int) -> bool:
    return not inside.all() and float(scipy.ndimage.distance_transform_edt(inside)[needed].max()) <= halo


def _peaks(work: Workspace, markers: Numbered, distance: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the places ``(peaks, axes)`` of the highest pixels in raster order, and their components."""
    places, owners = [np.zeros((0, len(work.shape)), np.int64)], [np.zeros(0, np.int64)]
    if all((markers.read(tile) > 0).all() for tile in work.tiles):
        raise DataError("the image is one object, without any background to cut it from", hint=_HINT)
    for tile in work.tiles:
        own = markers.read(tile)
        if not own.any():
            continue
        window = work.around(tile, distance)
        depth = _depth(work, markers, window, distance)
        found = np.argwhere(highest_within(depth, distance, 0)[within(tile, window)])
        places.append(found + [part.start for part in tile])
        owners.append(own[tuple(found.T)])
    every, of_each = np.concatenate(places), np.concatenate(owners)
    order = np.lexsort(every.T[::-1])
    return every[order], of_each[order]


def _centres(places: np.ndarray, distance: int) -> np.ndarray:
    """Return the number of the centre of each peak, 0 for those too close to one before them.

    Of centres that touch, as only those one pixel apart can, all have one number.
    """
    if distance == 1:
        return _touching(places)
    near: dict[tuple[int, ...], list[tuple[int, ...]]] = defaultdict(list)
    numbers = np.zeros(len(places), np.int64)
    count = 0
    for index, place in enumerate(map(tuple, places.tolist())):
        cell = tuple(at // distance for at in place)
        if any(
            max(abs(a - b) for a, b in zip(place, other, strict=True)) < distance
            for neighbour in _around(cell)
            for other in near.get(neighbour, ())
        ):
            continue
        near[cell].append(place)
        count += 1
        numbers[index] = count
    return numbers


def _touching(places: np.ndarray) -> np.ndarray:
    index = {place: number for number, place in enumerate(map(tuple, places.tolist()))}
    pairs = [
        (number, index[other])
        for place, number in index.items()
        for other in _around(place)
        if other in index
    ]
    rows = np.array(pairs, np.int64).reshape(-1, 2)
    shape = (len(places), len(places))
    graph = scipy.sparse.coo_matrix((np.ones(len(rows), bool), (rows[:, 0], rows[:, 1])), shape=shape)
    _, numbers = scipy.sparse.csgraph.connected_components(graph, directed=False)
    return np.asarray(numbers, np.int64) + 1


def _around(cell: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    return itertools.product(*((at - 1, at, at + 1) for at in cell))


def _lies_in(places: np.ndarray, region: Region) -> np.ndarray:
    first, last = ([part.start for part in region], [part.stop for part in region])
    inside: np.ndarray = np.logical_and.reduce((places >= first) & (places < last), axis=1)
    return inside
