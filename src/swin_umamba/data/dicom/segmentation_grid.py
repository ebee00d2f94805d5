"""The grid that the frames of a DICOM segmentation lie on: some of its slices, in any order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from swin_umamba.data.dicom.files import damaged_file
from swin_umamba.data.dicom.planes import Plane
from swin_umamba.data.dicom.volume import ORIENTATION_TOLERANCE, SHIFT_TOLERANCE, Grid, single, to_ras
from swin_umamba.errors import DataError

# Frames may lie off even distances by this part of one; slices of an image may, too.
_PLACE_TOLERANCE = 0.1
_SAME_HEIGHT = 1e-3
_ON_THE_GRID = "export the segmentation on the grid of its images"


def grid_of_frames(planes: Sequence[Plane], step: float | None, path: Path) -> tuple[Grid, list[int]]:
    """Return the grid that spans all frames, flat if their distance is unknown, and the slice of each.

    Parameters
    ----------
    planes
        The frames.
    step
        Distance of slices that the file gives; None if it gives none.
    path
        The file, for messages.

    Raises
    ------
    DataError
        Frames have no position, several orientations or uneven distances.
    """
    first = planes[0]
    placed = [plane for plane in planes if plane.position is not None and plane.orientation is not None]
    if not placed:
        return single(first), [0] * len(planes)
    if len(placed) < len(planes) or any(plane.spacing is None for plane in planes):
        raise DataError(
            "some frames of the segmentation have no position or no pixel spacing",
            where=path,
            hint=_ON_THE_GRID,
        )
    axes = np.array(first.orientation)
    spacing = first.spacing or ()
    others = np.array([plane.orientation for plane in planes])
    if np.abs(others - axes).max() > ORIENTATION_TOLERANCE:
        raise damaged_file(path, "the frames of the segmentation have several orientations")
    normal = np.cross(axes[0], axes[1])
    normal /= np.linalg.norm(normal)
    positions = np.array([plane.position for plane in planes])
    heights = positions @ normal
    lowest = int(heights.argmin())
    step = _checked_step(heights, step, path)
    slices = np.zeros(len(planes), np.int64)
    if step is not None:
        slices = np.rint((heights - heights[lowest]) / step).astype(np.int64)
    places = positions[lowest] + slices[:, None] * (step or 0.0) * normal
    _check_places(positions - places, normal, spacing, path)
    flat = Grid(spacing, to_ras(positions[lowest]), (to_ras(axes[1]), to_ras(axes[0])))
    if step is None:
        return flat, slices.tolist()
    volume = replace(flat, spacing=(step, *spacing), direction=(to_ras(normal), *flat.direction))
    return volume, slices.tolist()


def _checked_step(heights: np.ndarray, given: float | None, path: Path) -> float | None:
    """Return the distance of slices: that of the file, else the smallest between frames."""
    places = np.sort(heights)
    gaps = np.diff(places)
    gaps = gaps[gaps > _SAME_HEIGHT]
    if not gaps.size:
        return given
    # Some programs write the thickness of a slice for the distance.
    for step in (given, float(gaps.min())):
        if step is not None:
            off = np.abs((places - places[0]) / step - np.rint((places - places[0]) / step))
            if off.max() <= _PLACE_TOLERANCE and gaps.min() > (1 - 2 * _PLACE_TOLERANCE) * step:
                return step
    raise DataError(
        f"the frames of the segmentation are not in even distances: they are {gaps.min():.4g} to "
        f"{gaps.max():.4g} mm apart",
        where=path,
        hint=_ON_THE_GRID,
    )


def _check_places(shifts: np.ndarray, normal: np.ndarray, spacing: tuple[float, ...], path: Path) -> None:
    """Refuse frames that are shifted within their plane, as slices of an image are."""
    sideways = shifts - (shifts @ normal)[:, None] * normal
    if np.linalg.norm(sideways, axis=1).max() > max(SHIFT_TOLERANCE * min(spacing), _SAME_HEIGHT):
        raise DataError(
            "the frames of the segmentation are shifted against each other", where=path, hint=_ON_THE_GRID
        )
