"""Orientation of images for display: radiological convention, whatever order the file has.

Axial slices are shown with anterior at the top and the patient's right on the left, coronal ones with
superior at the top and the patient's right on the left, sagittal ones with superior at the top and anterior
on the left, as in clinical viewers. Oblique axes count as the nearest axis of the patient.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from swin_umamba.data.image import Image

Plane = Literal["axial", "coronal", "sagittal"]
PLANES: tuple[Plane, ...] = ("axial", "coronal", "sagittal")

# World axis (x, y, z; right, anterior, superior are positive) and direction of slices, rows and columns.
_CONVENTION: Mapping[Plane, tuple[tuple[int, int], ...]] = {
    "axial": ((2, 1), (1, -1), (0, -1)),
    "coronal": ((1, 1), (2, -1), (0, -1)),
    "sagittal": ((0, 1), (2, -1), (1, -1)),
}
_LETTERS = (("L", "R"), ("P", "A"), ("I", "S"))
# If slices are this many times thicker than pixels are wide, they were acquired in that plane and look best
# in it.
_THICK = 1.5


@dataclass(frozen=True)
class View:
    """Reorientation of arrays on the grid of an image.

    Attributes
    ----------
    axes
        Spatial axis of the array that becomes the slices (not for a flat image), the rows and the columns.
    backwards
        Whether each of these axes is then reversed.
    spacing
        Spacing of the reoriented array in mm; 1.0 where it is unknown.
    plane
        Plane that is shown; None without orientation, where the order of the file is kept.
    edges
        Letters for the left, right, top and bottom; empty without orientation.
    """

    axes: tuple[int, ...]
    backwards: tuple[bool, ...]
    spacing: tuple[float, ...]
    plane: Plane | None
    edges: tuple[str, ...] = ()

    def turn(self, array: np.ndarray) -> np.ndarray:
        """Return an array ``(..., z, y, x)`` or ``(..., y, x)`` reoriented for display, without copying."""
        leading = array.ndim - len(self.axes)
        turned = array.transpose(*range(leading), *(leading + axis for axis in self.axes))
        steps = tuple(slice(None, None, -1 if backwards else None) for backwards in self.backwards)
        stepped: np.ndarray = turned[(slice(None),) * leading + steps]
        return stepped


def radiological_view(image: Image, plane: Plane | None = None) -> View:
    """Return the orientation in which an image is shown.

    Parameters
    ----------
    image
        The image.
    plane
        Plane to show of a volume; by default the plane of thick slices, else axial. A flat image has its own
        plane.
    """
    axes = tuple(range(len(image.spatial_shape)))
    if not image.has_orientation:
        return View(axes, (False,) * len(axes), image.spacing, None)
    world = _nearest_axes(np.asarray(image.direction))
    if plane is None:
        plane = _plane_of(image, world)
    convention = _CONVENTION[plane][-len(axes) :]
    order = tuple(world.index(axis) for axis, _ in convention)
    backwards = tuple(
        bool(np.sign(image.direction[place][axis]) != sign)
        for place, (axis, sign) in zip(order, convention, strict=True)
    )
    (row, down), (column, right) = convention[-2:]
    edges = [_LETTERS[column][right < 0], _LETTERS[column][right > 0]]
    edges += [_LETTERS[row][down < 0], _LETTERS[row][down > 0]]
    return View(order, backwards, tuple(image.spacing[place] for place in order), plane, tuple(edges))


def _plane_of(image: Image, world: tuple[int, ...]) -> Plane:
    """Return the plane of a flat image; for a volume, the plane of thick slices, else axial."""
    normal = 2
    if len(world) == 2:
        (normal,) = {0, 1, 2} - set(world)
    else:
        thickest = int(np.argmax(image.spacing))
        if image.spacing[thickest] > _THICK * sorted(image.spacing)[-2]:
            normal = world[thickest]
    return next(plane for plane in PLANES if _CONVENTION[plane][0][0] == normal)


def _nearest_axes(directions: np.ndarray) -> tuple[int, ...]:
    """Return the world axis of each axis of an array; each world axis is used once."""
    choices = itertools.permutations(range(3), len(directions))
    return max(choices, key=lambda world: sum(abs(directions[n, axis]) for n, axis in enumerate(world)))
