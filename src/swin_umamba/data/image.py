"""The image type that every reader returns, and the comparison of two image grids."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from swin_umamba.errors import GeometryError

if TYPE_CHECKING:
    from nibabel import Nifti1Header

# NIfTI headers hold float32, and orientation as a quaternion whose first component is recomputed from the
# other three, which loses half of the digits near 180 degrees. These bounds exceed that error and are far
# below a voxel.
SPACING_RELATIVE_TOLERANCE = 1e-3
DIRECTION_TOLERANCE = 1e-3
ORIGIN_TOLERANCE_IN_VOXELS = 1e-2

# Larger claims come from damaged or hostile headers, or from images to crop before segmentation anyway.
MAX_VOXELS = 2**30
# Deflate cannot compress more than this, so a small file that claims more is refused before unpacking.
DEFLATE_MAX_RATIO = 1032

# The world directions of the array axes (z, y, x) of an image without a header.
_PLAIN_DIRECTION = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))


@dataclass(frozen=True, eq=False)
class Image:
    """An image or label map with its placement in the world.

    Attributes
    ----------
    data
        ``(channels, y, x)`` or ``(channels, z, y, x)``, C-contiguous, in native byte order and the dtype of
        the file. Axes are ordered as in SimpleITK: the array of a NIfTI file is transposed, not reoriented.
    spacing
        Distance between neighbouring voxels along each spatial axis of ``data``, in the same order, in mm.
    origin
        World position (x, y, z; NIfTI's RAS+, mm) of voxel 0.
    direction
        One world unit vector for each spatial axis of ``data``, in the same order.
    path
        The file that the image was read from, or the first of several.
    header
        The NIfTI header, so that a label map can be written with an identical one; None for other formats.
    has_spacing
        False if the file does not give the pixel size; ``spacing`` is then 1.0, which stands for "one pixel",
        not for a millimetre.
    has_orientation
        False if the file does not say how the image lies in the world; ``origin`` and ``direction`` are then
        placeholders.
    unit
        Millimetres per unit of the file, for formats in which other programs take every unit for a
        millimetre. Output for the image in such a format has the same unit, so that those programs overlay
        the two.
    frame_of_reference
        UID of the space in which a DICOM file gives positions; empty if there is none.
    is_partial
        Whether all that lies outside of the voxels is background: DICOM segmentations leave slices out.
    label_names
        Names that a segmentation gives its values; None if the file has none.
    """

    data: np.ndarray
    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[tuple[float, ...], ...]
    path: Path
    header: Nifti1Header | None = field(default=None, repr=False)
    has_spacing: bool = True
    has_orientation: bool = True
    unit: float = 1.0
    label_names: Mapping[int, str] | None = None
    frame_of_reference: str = ""
    is_partial: bool = False

    @property
    def num_channels(self) -> int:
        """Number of channels."""
        num_channels: int = self.data.shape[0]
        return num_channels

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        """Shape without the channels: ``(y, x)`` or ``(z, y, x)``."""
        return self.data.shape[1:]

    @property
    def pixel_size(self) -> float:
        """Volume of a voxel in mm3, or area of a pixel of a flat image in mm2; 1 if the size is unknown.

        It is that of the parallelepiped spanned by the axes, which is smaller than the product of the spacing
        where they are not at right angles.
        """
        axes = np.asarray(self.direction)
        return math.prod(self.spacing) * math.sqrt(np.linalg.det(axes @ axes.T))

    @property
    def is_placed(self) -> bool:
        """Whether origin and direction carry information, even if only in a world without right and left."""
        straight = np.array_equal(np.abs(self.direction), _PLAIN_DIRECTION[-len(self.direction) :])
        return self.has_orientation or any(self.origin) or not straight

    def with_data(self, data: np.ndarray) -> Image:
        """Return an image with other voxels on the same grid."""
        return replace(self, data=np.ascontiguousarray(data))

    @classmethod
    def without_geometry(cls, data: np.ndarray, path: Path) -> Image:
        """Return an image without geometry: placeholders of spacing 1, origin 0, the world's axes."""
        ndim = data.ndim - 1
        return cls(
            data=np.ascontiguousarray(data),
            spacing=(1.0,) * ndim,
            origin=(0.0, 0.0, 0.0),
            direction=_PLAIN_DIRECTION[-ndim:],
            path=path,
            has_spacing=False,
            has_orientation=False,
        )


def check_same_grid(image: Image, other: Image) -> None:
    """Refuse two images whose voxels lie at different places in the world, as far as both files say where.

    Raises
    ------
    GeometryError
        A property differs; all that do (shape, spacing, origin, direction) are named with both values.
    """
    differences = []
    if image.spatial_shape != other.spatial_shape:
        differences.append(f"shape {image.spatial_shape} and {other.spatial_shape}")
    elif (image.has_spacing and other.has_spacing) and not np.allclose(
        image.spacing, other.spacing, rtol=SPACING_RELATIVE_TOLERANCE, atol=0
    ):
        differences.append(f"spacing {_rounded(image.spacing)} and {_rounded(other.spacing)} mm")
    oriented = image.has_orientation and other.has_orientation
    origin_tolerance = ORIGIN_TOLERANCE_IN_VOXELS * min(*image.spacing, *other.spacing)
    if oriented and not np.allclose(image.origin, other.origin, rtol=0, atol=origin_tolerance):
        differences.append(f"origin {_rounded(image.origin)} and {_rounded(other.origin)} mm")
    if (oriented and len(image.direction) == len(other.direction)) and not np.allclose(
        image.direction, other.direction, rtol=0, atol=DIRECTION_TOLERANCE
    ):
        rows = [tuple(_rounded(axis) for axis in each.direction) for each in (image, other)]
        differences.append(f"direction {rows[0]} and {rows[1]}")
    if differences:
        raise GeometryError(
            f"two images that belong together lie on different grids: {'; '.join(differences)}",
            where=f"{image.path} and {other.path}",
            hint="resample one of them onto the grid of the other, or correct the wrong header",
        )


def _rounded(values: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(float(f"{value:.6g}") for value in values)
