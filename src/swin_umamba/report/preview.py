"""One picture of one case: its image, or the most informative slice of a volume, under its label map."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from swin_umamba.errors import GeometryError, UsageError
from swin_umamba.files import atomic_write
from swin_umamba.report.overlay import fullest_slice, overlay, to_rgb

LONGEST_SIDE = 1024
# Small images are enlarged, so that the contours do not hide what they surround.
SHORTEST_LONG_SIDE = 512
CONTOUR_WIDTH = 2


def write_preview(
    path: str | Path,
    image: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    spacing: Sequence[float] | None = None,
    slice_index: int | None = None,
) -> Path:
    """Draw a label map over its image and write the picture as PNG, atomically.

    Parameters
    ----------
    path
        Where to write.
    image
        ``(channels, y, x)`` or ``(channels, z, y, x)``; see ``overlay.to_rgb`` for its contrast.
    labels
        Integers of the image's spatial shape; None draws the image alone.
    spacing
        Of the spatial axes, so that pixels that are not square are not drawn square.
    slice_index
        Of a volume, along its first spatial axis; by default :func:`informative_slice`.

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    GeometryError
        The labels do not have the shape of the image.
    UsageError
        ``slice_index`` is outside of the volume, or given for a flat image.
    """
    if labels is not None and labels.shape != image.shape[1:]:
        raise GeometryError(
            f"labels of shape {labels.shape} do not fit the image of shape {image.shape[1:]}",
            cure="give the label map that belongs to this image",
        )
    if image.ndim == 3 and slice_index is not None:
        raise UsageError("a flat image has no slices", where="--slice", cure="leave it out")
    if image.ndim == 4:
        index = informative_slice(image, labels) if slice_index is None else slice_index
        if not 0 <= index < image.shape[1]:
            raise UsageError(
                f"there is no slice {index}", where="--slice", cure=f"give 0 to {image.shape[1] - 1}"
            )
        image, labels = image[:, index], None if labels is None else labels[index]
    path = Path(path)
    picture = _drawn(image, labels, spacing)
    with atomic_write(path) as temporary:
        picture.save(temporary, format="PNG")
    return path


def _drawn(
    image: np.ndarray, labels: np.ndarray | None, spacing: Sequence[float] | None
) -> PillowImage.Image:
    """Return the picture of a slice ``(channels, y, x)`` under its labels ``(y, x)``."""
    size = picture_size(image.shape[1:], spacing, shortest=SHORTEST_LONG_SIDE, longest=LONGEST_SIDE)
    picture = PillowImage.fromarray(to_rgb(image)).resize(size, PillowImage.Resampling.BICUBIC)
    if labels is not None:
        # Labels are scaled before they are drawn: contours keep their width whatever the size of the image.
        scaled = np.asarray(
            PillowImage.fromarray(labels.astype(np.int32)).resize(size, PillowImage.Resampling.NEAREST)
        )
        drawn = overlay(np.asarray(picture).transpose(2, 0, 1), scaled, contour_width=CONTOUR_WIDTH)
        picture = PillowImage.fromarray(drawn)
    return picture


def informative_slice(image: np.ndarray, labels: np.ndarray | None) -> int:
    """Return the slice of a volume that shows most: the most labels, or else the most varied intensities.

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
    shape: Sequence[int], spacing: Sequence[float] | None, *, shortest: int, longest: int
) -> tuple[int, int]:
    """Return the width and height of the picture of a slice.

    Parameters
    ----------
    shape
        ``(y, x)`` in pixels.
    spacing
        Of the spatial axes, ``y`` and ``x`` the last; None for square pixels.
    shortest, longest
        Bounds of the longer side in pixels of the picture.
    """
    height, width = (
        extent * distance for extent, distance in zip(shape, spacing[-2:] if spacing else (1, 1), strict=True)
    )
    pixels = min(max(*shape, shortest), longest)
    scale = pixels / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))
