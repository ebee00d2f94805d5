"""Images made by a test, with what must be read from them, and the comparison with what was read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from conformance.combinations import Combination, Outcomes
from swin_umamba.data.image_io import read_image
from swin_umamba.errors import DataError

TO_RAS = np.array((-1.0, -1.0, 1.0))
"""From ITK's world to NIfTI's."""


@dataclass
class Made:
    """A file and what must be read from it.

    Attributes
    ----------
    path, data
        The file; ``(channels, y, x)`` or ``(channels, z, y, x)``.
    spacing
        In mm, of x, y and z; None if the file does not say it.
    direction, origin
        In NIfTI's world; a row for each of x, y and z.
    has_orientation
        Whether the file says how it lies there.
    unit
        The millimetres in one unit of the file.
    refused
        Reasons to refuse it; none if it must be read.
    """

    path: Path
    data: np.ndarray
    spacing: np.ndarray | None
    direction: np.ndarray
    origin: np.ndarray
    has_orientation: bool
    unit: float
    refused: list[str]


def axes_of(generator: np.random.Generator, count: int) -> np.ndarray:
    """Return unit vectors as rows that span so many dimensions, in any direction."""
    rows, triangle = np.linalg.qr(generator.normal(size=(count, count)))
    return rows * np.sign(np.diag(triangle))


def compare_with_simpleitk(made: Made) -> None:
    """Fail if ITK sees another image than is meant in a file of lengths in millimetres."""
    import SimpleITK as sitk  # takes a second

    seen = sitk.ReadImage(str(made.path))
    voxels = sitk.GetArrayFromImage(seen)
    voxels = np.moveaxis(voxels, -1, 0) if seen.GetNumberOfComponentsPerPixel() > 1 else voxels
    np.testing.assert_array_equal(voxels.reshape(made.data.shape), made.data)
    ndim, axes = len(made.direction), seen.GetDimension()
    if made.spacing is not None:
        np.testing.assert_allclose(seen.GetSpacing()[:ndim], made.spacing, rtol=1e-12)
    world = TO_RAS[:ndim]
    matrix = np.reshape(seen.GetDirection(), (axes, axes))[:ndim, :ndim].T * world
    np.testing.assert_allclose(matrix, made.direction[:, :ndim], atol=1e-12)
    np.testing.assert_allclose(np.array(seen.GetOrigin()[:ndim]) * world, made.origin[:ndim], rtol=1e-12)


def compare(made: Made, wanted: Combination, outcomes: Outcomes) -> None:
    """Read a file and note what became of it."""
    try:
        image = read_image(made.path)
    except DataError as error:
        if not any(why in str(error) for why in made.refused):
            outcomes.differences.append(f"{wanted}: {error}")
        outcomes.add(wanted, "refused")
        return
    if not made.refused and made.spacing is not None and image.unit != made.unit:
        outcomes.differences.append(f"{wanted}: unit {image.unit}, not {made.unit}")
    problems = ["read, and should be refused"] if made.refused else []
    if image.data.dtype != made.data.dtype.newbyteorder("=") or not np.array_equal(image.data, made.data):
        problems.append("voxels")
    expected = np.ones(len(image.spacing)) if made.spacing is None else made.spacing
    if image.has_spacing != (made.spacing is not None):
        problems.append(f"has_spacing is {image.has_spacing}")
    if not np.allclose(image.spacing[::-1], expected, rtol=1e-15, atol=0):
        problems.append(f"spacing {image.spacing}, not {expected[::-1]}")
    if image.has_orientation != made.has_orientation:
        problems.append(f"has_orientation is {image.has_orientation}")
    if not np.allclose(image.direction[::-1], made.direction, rtol=0, atol=1e-15):
        problems.append(f"direction {image.direction}, not {made.direction[::-1]}")
    if not np.allclose(image.origin, made.origin, rtol=1e-15, atol=0):
        problems.append(f"origin {image.origin}, not {made.origin}")
    outcomes.add(wanted, "read")
    outcomes.differences += [f"{wanted}: {each}" for each in problems]
