"""An image as nnU-Net's preprocessing takes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from swin_umamba.data.image_io import Image

# nnU-Net gives a flat image one slice and a spacing between slices that is this many times the one within, so
# that it counts as a very anisotropic volume and is never resampled across slices.
FLAT_SPACING_FACTOR = 999.0


@dataclass(frozen=True)
class Volume:
    """An image as nnU-Net's preprocessing takes it.

    Attributes
    ----------
    data
        ``(channels, Z, Y, X)``; a flat image has one slice.
    spacing
        Along Z, Y and X; None if unknown.
    flat
        True if the image was given without a Z axis.
    source
        The image that was read, if it came from files.
    """

    data: np.ndarray
    spacing: tuple[float, float, float] | None
    flat: bool
    source: Image | None = None

    @property
    def path(self) -> Path | None:
        """Path of the image that was read, for errors; None if it came from no file."""
        return None if self.source is None else self.source.path
