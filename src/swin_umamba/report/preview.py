"""One picture of a case: its image, or the most informative slice of a volume, under its label map."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from swin_umamba.data.image import Image
from swin_umamba.errors import GeometryError, UsageError
from swin_umamba.files import atomic_open
from swin_umamba.report.marks import NO_ORIENTATION, draw_marks
from swin_umamba.report.orientation import Plane, radiological_view
from swin_umamba.report.overlay import fullest_slice, overlay, to_rgb

LONGEST_SIDE = 1024
# Small images are enlarged so that contours do not hide what they surround.
SHORTEST_LONG_SIDE = 512
CONTOUR_WIDTH = 2


def write_preview(
    path: str | Path,
    image: Image,
    labels: np.ndarray | None = None,
    *,
    plane: Plane | None = None,
    slice_index: int | None = None,
) -> Path:
    """Draw a label map over its image and write the picture as PNG, atomically.

    It is reoriented by ``orientation.radiological_view``. Letters at the edges and a scale bar are drawn if
    the image has an orientation and a pixel size.

    Parameters
    ----------
    path
        Where to write.
    image
        The image; see ``overlay.to_rgb`` for its contrast.
    labels
        Label map of the image's spatial shape; None draws the image alone.
    plane
        Plane of a volume to show; by default that of thick slices, else axial.
    slice_index
        Slice of a volume to show, counted from inferior to superior, posterior to anterior, or left to right;
        without orientation, in the order of the file. By default :func:`informative_slice`.

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    GeometryError
        If the labels do not have the shape of the image.
    UsageError
        If ``slice_index`` is outside of the volume or given for a flat image, or a plane is given for a flat
        image or one without orientation.
    """
    if labels is not None and labels.shape != image.spatial_shape:
        raise GeometryError(
            f"labels of shape {labels.shape} do not match the image of shape {image.spatial_shape}",
            hint="give the label map that belongs to this image",
        )
    flat = len(image.spatial_shape) == 2
    if flat and slice_index is not None:
        raise UsageError("a flat image has no slices", where="--slice", hint="leave it out")
    if plane is not None and (flat or not image.has_orientation):
        why = "a flat image has only one plane" if flat else "the image has no orientation"
        raise UsageError(why, where="--plane", hint="leave it out")
    view = radiological_view(image, plane)
    data, labels = view.turn(image.data), None if labels is None else view.turn(labels)
    if not flat:
        index = informative_slice(data, labels) if slice_index is None else slice_index
        if not 0 <= index < data.shape[1]:
            raise UsageError(
                f"there is no slice {index}", where="--slice", hint=f"give 0 to {data.shape[1] - 1}"
            )
        data, labels = data[:, index], None if labels is None else labels[index]
    path = Path(path)
    size = picture_size(data.shape[1:], view.spacing, longest=LONGEST_SIDE, shortest=SHORTEST_LONG_SIDE)
    picture = PillowImage.fromarray(to_rgb(data)).resize(size, PillowImage.Resampling.BICUBIC)
    if labels is not None:
        picture = with_labels(picture, labels)
    mm_per_pixel = view.spacing[-1] * data.shape[-1] / picture.width if image.has_spacing else None
    draw_marks(picture, view.edges, mm_per_pixel, note="" if flat or view.edges else NO_ORIENTATION)
    with atomic_open(path) as file:
        picture.save(file, format="PNG")
    return path


def with_labels(picture: PillowImage.Image, labels: np.ndarray) -> PillowImage.Image:
    """Return an RGB picture with a label map ``(y, x)`` of any size over it."""
    # Labels are scaled before they are drawn, so that contours have the same width at any image size.
    scaled = resized(labels.astype(np.int32), picture.size)
    drawn = overlay(np.asarray(picture).transpose(2, 0, 1), scaled, contour_width=CONTOUR_WIDTH)
    return PillowImage.fromarray(drawn)


def resized(
    array: np.ndarray, size: tuple[int, int], method: PillowImage.Resampling = PillowImage.Resampling.NEAREST
) -> np.ndarray:
    """Return an array ``(y, x)`` or ``(y, x, 3)`` in another size (width, height)."""
    return np.asarray(PillowImage.fromarray(array).resize(size, method))


def informative_slice(image: np.ndarray, labels: np.ndarray | None) -> int:
    """Return the slice of a volume with the most labels, or else with the most varied intensities.

    Parameters
    ----------
    image
        ``(channels, z, y, x)``.
    labels
        ``(z, y, x)`` or None.
    """
    if labels is not None and labels.any():
        return fullest_slice(labels)
    return int(np.argmax(image[0].astype(np.float64).std(axis=(1, 2))))


def picture_size(
    shape: Sequence[int], spacing: Sequence[float] | None = None, *, longest: int, shortest: int = 1
) -> tuple[int, int]:
    """Return the width and height of the picture of a slice.

    Parameters
    ----------
    shape
        ``(y, x)`` in pixels.
    spacing
        Spacing of the spatial axes, with ``y`` and ``x`` last; None for square pixels.
    longest, shortest
        Bounds of the longer side in pixels of the picture; by default, nothing is enlarged.
    """
    height, width = (
        extent * distance for extent, distance in zip(shape, spacing[-2:] if spacing else (1, 1), strict=True)
    )
    pixels = min(max(*shape, shortest), longest)
    scale = pixels / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))
