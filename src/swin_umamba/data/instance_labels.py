"""Conversion of instance maps of cells to the three classes that a network learns, and back.

The classes are background 0, interior 1 and boundary 2, as in the baseline of the NeurIPS 2022 cell
segmentation challenge (Ma et al., Nature Methods 21, 2024). The boundary separates touching cells: it is the
outermost pixel of each cell, dilated by one pixel in the four directions, so that it covers the two outermost
pixels of a cell and extends one pixel outside it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy
import skimage

from swin_umamba.errors import UsageError

BACKGROUND, INTERIOR, BOUNDARY = 0, 1, 2
BACKGROUND_NAME, INTERIOR_NAME, BOUNDARY_NAME = "background", "interior", "boundary"
IGNORE_NAME = "ignore"
"""Class of pixels of unknown truth, which nnU-Net does not train on."""
# Smaller interiors, in pixels, are left out of the training labels.
MIN_INTERIOR_SIZE = 16
# How far the boundary class extends outside the cells, in pixels.
OUTER_RIM = 1
# Steps along the axes from the background between cells to their interiors: along an edge, and at a corner
# where so many cells meet.
GAP_REACH, CORNER_REACH, CORNER_CELLS = 4, 6, 3
MAPS_LOOKED_AT = 5
"""Number of maps from which to tell whether values are classes or number objects."""
FEWEST_INSTANCES = 8
"""Objects in the fullest of these maps; a few classes may also be one object each in every map."""


def instances_to_classes(instances: np.ndarray, *, min_interior_size: int = MIN_INTERIOR_SIZE) -> np.ndarray:
    """Return the class map of an instance map as the challenge's baseline computes it.

    Parameters
    ----------
    instances
        Integers, ``(y, x)`` or ``(z, y, x)``; 0 is the background. The image border is not a boundary: a cell
        that it cuts is interior right up to it.
    min_interior_size
        Minimum size in pixels of a connected interior; smaller ones become background, their boundary stays.

    Returns
    -------
    numpy.ndarray
        uint8, 0, 1 or 2.

    Notes
    -----
    A cell no more than four pixels across has no interior; it is all boundary.
    """
    _check(instances)
    cross = scipy.ndimage.generate_binary_structure(instances.ndim, 1)
    edges = skimage.segmentation.find_boundaries(instances, mode="inner")
    boundary = scipy.ndimage.binary_dilation(edges, cross)
    interior = (instances != 0) & ~boundary
    components, _ = scipy.ndimage.label(interior, cross)
    large = np.bincount(components.ravel()) >= min_interior_size
    large[0] = False
    classes: np.ndarray = large[components].astype(np.uint8) * np.uint8(INTERIOR)
    classes[boundary] = BOUNDARY
    return classes


def interior_components(classes: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the connected interiors (diagonal neighbours count) as an instance map, and their number.

    The published evaluation of the microscopy experiment does no more than this with a prediction.
    """
    components, count = scipy.ndimage.label(classes == INTERIOR, _everywhere(classes.ndim))
    return components, int(count)


def classes_to_instances(
    classes: np.ndarray, *, outer_rim: int = OUTER_RIM, split_distance: int | None = None, min_size: int = 1
) -> np.ndarray:
    """Return the instance map of a class map: each interior with the boundary pixels that belong to it.

    Parameters
    ----------
    classes
        Integers 0, 1 or 2, ``(y, x)`` or ``(z, y, x)``.
    outer_rim
        How far the boundary class extends outside the cells: 1 in the labels of :func:`instances_to_classes`,
        0 where the boundary is the outermost pixel of a cell. Boundary pixels this close to the background
        are assigned to no cell.
    split_distance
        If given, interiors that are joined at a neck are cut there by a watershed on the distance to their
        edge; the centres of two cells are at least this many pixels apart.
    min_size
        Minimum size of an instance in pixels; smaller ones are dropped.

    Returns
    -------
    numpy.ndarray
        int32, numbered from 1 without gaps.

    Notes
    -----
    The labels have background where an interior is smaller than ``MIN_INTERIOR_SIZE``. If there is an outer
    rim, a hole of that size in the boundary, too far from other interiors to be a gap between cells, is taken
    for the interior of a small cell.

    Each remaining boundary pixel goes to the interior that reaches it first when all interiors grow at the
    same speed within the boundary class. A patch of boundary that no interior reaches is an instance of its
    own: a cell too small to have an interior.
    """
    _check(classes)
    if outer_rim < 0 or min_size < 1 or (split_distance is not None and split_distance < 1):
        raise UsageError("outer_rim must be at least 0, min_size and split_distance at least 1")
    markers, count = interior_components(classes)
    if outer_rim:
        complete = with_small_interiors(classes, markers)
        if complete is not classes:
            classes = complete
            markers, count = interior_components(classes)
    if split_distance is not None:
        markers, count = _split(markers, split_distance)
    cells = cells_of(classes, outer_rim)
    instances, _ = grow_from(markers, cells & (markers == 0))
    others, _ = scipy.ndimage.label(cells & (instances == 0), _everywhere(classes.ndim))
    instances = np.where(others > 0, others + count, instances)
    large = np.bincount(instances.ravel()) >= min_size
    return consecutive_labels(instances * large[instances])[0].astype(np.int32)


def cells_of(classes: np.ndarray, outer_rim: int = OUTER_RIM) -> np.ndarray:
    """Return the cells of a class map, bool: everything but background and the rim outside the cells."""
    cells: np.ndarray = classes != BACKGROUND
    if outer_rim:
        cross = scipy.ndimage.generate_binary_structure(classes.ndim, 1)
        # The image border does not count as background: a cell that it cuts has no rim there.
        near_background = scipy.ndimage.binary_dilation(~cells, cross, iterations=outer_rim)
        cells = (classes == INTERIOR) | (cells & ~near_background)
    return cells


def with_small_interiors(classes: np.ndarray, interiors: np.ndarray) -> np.ndarray:
    """Return the map with interior in the holes that :func:`instances_to_classes` left in small cells.

    Parameters
    ----------
    classes
        Integers 0, 1 or 2, ``(y, x)`` or ``(z, y, x)``.
    interiors
        Number of the connected interior of each pixel, in the same shape.

    Notes
    -----
    In its labels, the background between cells is within ``GAP_REACH`` steps of their interiors: one pixel of
    boundary outside and two inside. The middle of a small cell is farther from the interior of any other.
    Where corners of cells meet, the background may be farther too, but it has interiors on all sides.
    """
    holes, count = scipy.ndimage.label(classes == BACKGROUND)
    small = np.bincount(holes.ravel(), minlength=count + 1) < MIN_INTERIOR_SIZE
    small[0] = False
    if not small.any():
        return classes
    nearest = np.full(count + 1, np.inf)
    if interiors.any():
        there = small[holes]
        steps = scipy.ndimage.distance_transform_cdt(classes != INTERIOR, "taxicab")
        np.minimum.at(nearest, holes[there], steps[there])
    small &= nearest > GAP_REACH
    places = scipy.ndimage.find_objects(holes)
    for hole in np.flatnonzero(small & (nearest <= CORNER_REACH)):
        around = tuple(
            slice(max(side.start - CORNER_REACH, 0), side.stop + CORNER_REACH) for side in places[hole - 1]
        )
        reached = scipy.ndimage.binary_dilation(holes[around] == hole, iterations=CORNER_REACH)
        small[hole] = np.count_nonzero(np.unique(interiors[around][reached])) < CORNER_CELLS
    return np.where(small[holes], classes.dtype.type(INTERIOR), classes)


def number_of_objects(labels: np.ndarray) -> int | None:
    """Return the number of objects if the values of a map number connected ones; None if they do not."""
    values = np.unique(labels[labels > 0])
    if not np.array_equal(values, np.arange(1, len(values) + 1)):
        return None
    pieces = skimage.measure.label(labels, background=0, connectivity=labels.ndim)
    return len(values) if int(pieces.max(initial=0)) == len(values) else None


def number_objects(counts: Sequence[int | None]) -> bool:
    """Return whether the values of maps number objects, given the :func:`number_of_objects` of each."""
    known = [count for count in counts if count is not None]
    return len(known) == len(counts) and len(set(known)) > 1 and max(known) >= FEWEST_INSTANCES


def consecutive_labels(instances: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the map with its instances renumbered from 1 without gaps, and their number."""
    check_numbers(instances)
    if instances.size == 0:
        return instances.astype(np.intp), 0
    largest = int(instances.max())
    if largest > 4 * instances.size:
        # A table of all numbers up to the largest could be many times larger than the image.
        values, numbers = np.unique(instances, return_inverse=True)
        if values[0] != 0:
            numbers = numbers + 1
        return numbers.reshape(instances.shape), int(np.count_nonzero(values))
    instances = instances.astype(np.intp, copy=False)
    used = np.bincount(instances.ravel(), minlength=largest + 1) > 0
    used[0] = False
    numbers = np.where(used, np.cumsum(used), 0)
    return numbers[instances], int(used.sum())


def check_numbers(instances: np.ndarray) -> None:
    """Refuse what cannot be an instance map: anything but whole numbers from 0."""
    if instances.dtype.kind not in "biu" or (instances.size and instances.min() < 0):
        raise UsageError(f"an instance map holds whole numbers from 0, not {instances.dtype}")
    if instances.dtype == np.uint64 and instances.size and instances.max() > np.iinfo(np.int64).max:
        raise UsageError(f"an instance map holds numbers below 2**63, not {instances.max()}")


def _split(components: np.ndarray, distance: int) -> tuple[np.ndarray, int]:
    """Cut components that have several centres, which are peaks of the distance to the component's edge."""
    inside = components > 0
    depth = smooth_depth(inside, distance)
    peaks = _peaks(depth, distance)
    centre_labels, num_centres = scipy.ndimage.label(peaks, _everywhere(components.ndim))
    # One number per centre, however many pixels it has, in the component that contains it.
    _, first = np.unique(centre_labels[peaks], return_index=True)
    several = np.bincount(components[peaks][first], minlength=int(components.max(initial=0)) + 1) > 1
    cut = several[components]
    parts = flood(-depth, centre_labels * cut, cut, components.ndim)
    return consecutive_labels(np.where(cut, parts, (components + num_centres) * inside))


def smooth_depth(inside: np.ndarray, distance: int) -> np.ndarray:
    """Return the distance of each pixel inside to the nearest one outside, smoothed; 0 outside.

    Smoothing joins the many peaks along the ridge of one elongated cell. The border of the image is not
    outside.
    """
    depth = scipy.ndimage.distance_transform_edt(np.pad(inside, 1, mode="edge"))
    depth = depth[(slice(1, -1),) * inside.ndim]
    smooth: np.ndarray = scipy.ndimage.gaussian_filter(depth, distance / 4, mode="nearest") * inside
    return smooth


def highest_within(depth: np.ndarray, distance: int, lowest: float) -> np.ndarray:
    """Return where the depth is above a value and the largest within ``distance`` pixels along each axis."""
    highest = scipy.ndimage.maximum_filter(depth, 2 * distance + 1, mode="nearest")
    peaks: np.ndarray = (depth == highest) & (depth > lowest)
    return peaks


def _peaks(depth: np.ndarray, distance: int) -> np.ndarray:
    """Return where the depth (at least 0) is the largest within ``distance`` pixels along every axis.

    Of equal peaks closer than that, only the first in raster order counts. The result is that of
    ``peak_local_max`` of scikit-image, whose distance computation takes as long as everything else together.
    """
    peaks = highest_within(depth, distance, depth.min(initial=np.inf))
    if peaks.all():  # a plateau over the whole image
        return np.zeros_like(peaks)
    for place in np.argwhere(peaks).tolist():
        here = tuple(place)
        if peaks[here]:
            peaks[tuple(slice(max(at - distance + 1, 0), at + distance) for at in place)] = False
            peaks[here] = True
    return peaks


def flood(heights: np.ndarray, seeds: np.ndarray, mask: np.ndarray, connectivity: int) -> np.ndarray:
    """Return the watershed of seeds within a mask; connected parts of the mask do not influence each other.

    Seeds at one height flow in raster order; in scikit-image, the order depends on all other seeds.
    """
    at = np.flatnonzero(seeds.ravel() * mask.ravel())
    values = heights.ravel()[at]
    if len(np.unique(values)) < len(values):
        ranks = np.zeros(heights.shape)
        ranks[mask] = np.unique(heights[mask], return_inverse=True)[1]
        ranks.ravel()[at] -= 1 - np.arange(1, len(at) + 1) / (len(at) + 1)
        heights = ranks
    found: np.ndarray = skimage.segmentation.watershed(heights, seeds, connectivity=connectivity, mask=mask)
    return found


def grow_from(
    labels: np.ndarray, free: np.ndarray, steps: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Grow all labels at the same speed, one pixel per step in the four (six) directions.

    Visits each pixel once: unlike a watershed, it takes time linear in the number of pixels.

    Parameters
    ----------
    labels
        Integers, 0 for none, ``(y, x)`` or ``(z, y, x)``.
    free
        bool, in the same shape: pixels without a label that they may take.
    steps
        After how many steps each label begins to grow; 0 by default.

    Returns
    -------
    labels, steps
        The labels, and after how many steps each pixel got its own; undefined where there is none.
    """
    shape = tuple(length + 2 for length in labels.shape)  # so that no neighbour lies beyond an edge
    labels, free = np.pad(labels, 1).ravel(), np.pad(free, 1).ravel()
    when = np.zeros(labels.shape, np.int32) if steps is None else np.pad(steps, 1).ravel()
    strides = [int(np.prod(shape[axis + 1 :])) for axis in range(len(shape))]
    strides = [*strides, *(-stride for stride in strides)]
    later = np.flatnonzero(labels)
    later = later[np.argsort(when[later], kind="stable")]
    front, step = later[:0], 0
    while len(front) or len(later):
        if not len(front):
            step = int(when[later[0]])
        now = np.searchsorted(when[later], step, side="right")
        front, later = np.concatenate([front, later[:now]]), later[now:]
        step += 1
        reached = []
        for stride in strides:
            source = front[free[front + stride]]
            labels[source + stride] = labels[source]
            free[source + stride] = False
            when[source + stride] = step
            reached.append(source + stride)
        front = np.concatenate(reached)
    inside = (slice(1, -1),) * len(shape)
    return labels.reshape(shape)[inside], when.reshape(shape)[inside]


def _everywhere(ndim: int) -> np.ndarray:
    structure: np.ndarray = scipy.ndimage.generate_binary_structure(ndim, ndim)
    return structure


def _check(labels: np.ndarray) -> None:
    if labels.ndim not in (2, 3) or labels.dtype.kind not in "biu":
        raise UsageError(
            f"a label map is an array of integers with 2 or 3 axes, not {labels.dtype} with {labels.ndim}"
        )
