"""The image that every reader returns, and the comparison of two image grids."""

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

# NIfTI headers hold float32 and orientation as a quaternion whose first component is recomputed from the
# other three, which costs half of the digits near 180 degrees. These bounds are above that error and far
# below a voxel.
SPACING_RELATIVE_TOLERANCE = 1e-3
DIRECTION_TOLERANCE = 1e-3
ORIGIN_TOLERANCE_IN_VOXELS = 1e-2

# Larger claims come from damaged or hostile headers, or need cropping before segmentation anyway.
MAX_VOXELS = 2**30
# Deflate cannot compress better than this, so a small file that claims more is refused before it is unpacked.
DEFLATE_MAX_RATIO = 1032

# The world directions of the array axes (z, y, x) of an image without a header.
_PLAIN_DIRECTION = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))


@dataclass(frozen=True, eq=False)
class Image:
    """An image or label map with its place in the world.

    Attributes
    ----------
    data
        ``(channels, y, x)`` or ``(channels, z, y, x)``, C-contiguous, in native byte order and the dtype of
        the file. Axis order is that of SimpleITK: the array of a NIfTI file is transposed, not reoriented.
    spacing
        Distance of neighbouring voxels along each spatial axis of ``data``, in its order, in mm.
    origin
        World position (x, y, z; NIfTI's RAS+, mm) of voxel 0.
    direction
        One world unit vector for each spatial axis of ``data``, in its order.
    path
        The file, or the first of several files, that the image was read from.
    header
        The NIfTI header, so that a label map can be written with exactly the same one; None for other
        formats.
    has_spacing
        False if the file does not say how large a pixel is; ``spacing`` is 1.0 then, which stands for "one
        pixel" and not for a millimetre.
    has_orientation
        False if the file does not say how the image lies in the world; ``origin`` and ``direction`` are
        stand-ins then.
    unit
        The millimetres in the unit of the file, where other programs take every unit for a millimetre. What
        is written for the image in such a format has the same unit, so that it lies on the image for them.
    label_names
        What a segmentation calls its values; None if the file does not say.
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
        """Volume of a voxel in mm3, or area of a pixel of a flat image in mm2; 1 if no size is known.

        That of the parallelepiped that the axes span, which is less than the product of the spacing where
        they do not stand at right angles.
        """
        axes = np.asarray(self.direction)
        return math.prod(self.spacing) * math.sqrt(np.linalg.det(axes @ axes.T))

    @property
    def is_placed(self) -> bool:
        """Whether origin and direction say anything, though it may be in a world without right and left."""
        straight = np.array_equal(np.abs(self.direction), _PLAIN_DIRECTION[-len(self.direction) :])
        return self.has_orientation or any(self.origin) or not straight

    def with_data(self, data: np.ndarray) -> Image:
        """Return the image with other voxels on the same grid."""
        return replace(self, data=np.ascontiguousarray(data))

    @classmethod
    def without_geometry(cls, data: np.ndarray, path: Path) -> Image:
        """Return an image of a file without geometry: stand-ins of spacing 1, origin 0, the world's axes."""
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
    """Refuse two images whose voxels do not lie at the same places of the world, as far as both say where.

    Raises
    ------
    GeometryError
        Names every property that differs (shape, spacing, origin, direction) with both values.
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
