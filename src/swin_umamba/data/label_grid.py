"""Label maps on the grid of what they belong to; those of DICOM cover only the slices that have something."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from swin_umamba.data.image import DIRECTION_TOLERANCE, SPACING_RELATIVE_TOLERANCE, Image, check_same_grid
from swin_umamba.errors import GeometryError
from swin_umamba.pseudonyms import shown_uid

# Voxels of a partial label map may lie off those of the image by this part of one: positions are rounded, and
# slices of a series are not exactly even.
PLACE_TOLERANCE = 0.1


def on_grid_of(image: Image, labels: Image) -> Image:
    """Return a label map on the grid of an image. No voxel is resampled.

    A map that is not partial is returned as it is if it is on that grid. A partial one may also be turned and
    mirrored by right angles and cover a part of the image; the rest is background.

    Raises
    ------
    GeometryError
        It lies on another grid, or in another frame of reference.
    """
    _check_frame_of_reference(image, labels)
    if not (labels.is_partial and image.has_orientation and labels.has_orientation):
        check_same_grid(image, labels)
        return replace(labels, is_partial=False) if labels.is_partial else labels
    shape = image.spatial_shape if len(image.spacing) == 3 else (1, *image.spatial_shape)
    found, first = _turned(image, labels)
    last = [start + size for start, size in zip(first, found.shape, strict=True)]
    if min(first) < 0 or any(end > size for end, size in zip(last, shape, strict=True)):
        raise _other_grid(image, labels, "it reaches beyond it")
    data = np.zeros(shape, labels.data.dtype)
    data[tuple(slice(start, end) for start, end in zip(first, last, strict=True))] = found
    return replace(
        image,
        data=data.reshape(1, *image.spatial_shape),
        path=labels.path,
        header=None,
        label_names=labels.label_names,
        is_partial=False,
    )


def on_one_grid(one: Image, other: Image) -> tuple[Image, Image]:
    """Return two label maps on one grid: that of the one that is not partial, or one that holds both.

    Raises
    ------
    GeometryError
        They lie on different grids, or in different frames of reference.
    """
    if not other.is_partial and one.is_partial:
        return on_grid_of(other, one), other
    if not one.is_partial or not (one.has_orientation and other.has_orientation):
        return one, on_grid_of(one, other)
    _check_frame_of_reference(one, other)
    if len(one.spacing) < len(other.spacing):
        other, one = on_one_grid(other, one)
        return one, other
    found, first = _turned(one, other)
    size = one.spatial_shape if len(one.spacing) == 3 else (1, *one.spatial_shape)
    least = np.minimum(first, 0)
    shape = np.maximum(np.add(first, found.shape), size) - least
    whole = np.zeros(shape, one.data.dtype)
    whole[tuple(slice(-low, length - low) for low, length in zip(least, size, strict=True))] = one.data
    spacing, direction = _volume_axes(one, other)
    origin = np.array(one.origin) + (least * spacing) @ direction
    grown = replace(
        one,
        data=whole[None],
        spacing=tuple(spacing.tolist()),
        direction=tuple(map(tuple, direction.tolist())),
        origin=tuple(origin.tolist()),
        is_partial=False,
    )
    return grown, on_grid_of(grown, other)


def _turned(image: Image, labels: Image) -> tuple[np.ndarray, tuple[int, ...]]:
    """Return voxels ``(z, y, x)`` along the axes of an image, and the index there of the first of them."""
    spacing, direction = _volume_axes(image, labels)
    own_spacing, own_direction = _volume_axes(labels, image)
    cosines = direction @ own_direction.T
    order = np.abs(cosines).argmax(axis=1)
    signs = np.sign(cosines[np.arange(3), order])
    expected = np.zeros((3, 3))
    expected[np.arange(3), order] = signs
    if sorted(order.tolist()) != [0, 1, 2] or np.abs(cosines - expected).max() > DIRECTION_TOLERANCE:
        raise _other_grid(image, labels, "its axes point elsewhere")
    if not np.allclose(own_spacing[order], spacing, rtol=SPACING_RELATIVE_TOLERANCE, atol=0):
        raise _other_grid(
            image, labels, f"its spacing is {_short(own_spacing[order])} and not {_short(spacing)} mm"
        )
    voxels = labels.data.reshape((1,) * (4 - labels.data.ndim) + labels.data.shape)[0]
    # The voxel that comes first along the axes of the image.
    start = np.where(signs < 0, np.array(voxels.shape)[order] - 1, 0)[np.argsort(order)]
    origin = np.array(labels.origin) + (start * own_spacing) @ own_direction
    place = (direction @ (origin - np.array(image.origin))) / spacing
    first = np.rint(place).astype(int)
    if np.abs(place - first).max() > PLACE_TOLERANCE:
        raise _other_grid(image, labels, f"its first voxel is at {_short(place)} among those of the image")
    turned = np.flip(voxels.transpose(order), tuple(axis for axis in range(3) if signs[axis] < 0))
    return turned, tuple(first.tolist())


def _volume_axes(image: Image, other: Image) -> tuple[np.ndarray, np.ndarray]:
    """Return spacing and directions of three axes; a flat image has the other's distance of slices."""
    direction, spacing = np.array(image.direction), np.array(image.spacing)
    if len(spacing) == 3:
        return spacing, direction
    normal = np.cross(direction[1], direction[0])
    normal /= np.linalg.norm(normal)
    across = 1.0
    if len(other.spacing) == 3:
        across = other.spacing[int(np.abs(np.array(other.direction) @ normal).argmax())]
    return np.array([across, *spacing]), np.array([normal, *direction])


def _check_frame_of_reference(image: Image, labels: Image) -> None:
    one, other = image.frame_of_reference, labels.frame_of_reference
    # Segmentations made under pseudonyms name another one than the images that they are of.
    if one and other and one != other and shown_uid(one) != other and one != shown_uid(other):
        raise GeometryError(
            "the label map is in another frame of reference than what it belongs to, so that positions mean "
            "nothing to each other",
            where=f"{image.path} and {labels.path}",
            hint="give the label map of this series, or register the two",
        )


def _other_grid(image: Image, labels: Image, why: str) -> GeometryError:
    return GeometryError(
        f"the label map lies on another grid than what it belongs to: {why}",
        where=f"{image.path} and {labels.path}",
        hint="give the label map of this series, or export it on the grid of the images; it is not resampled",
    )


def _short(values: np.ndarray) -> str:
    return " x ".join(f"{value:.6g}" for value in values)
