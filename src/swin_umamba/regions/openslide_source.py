"""Slides that only OpenSlide decodes, read through its library (the extra ``openslide``)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from swin_umamba.data.tiff_pixel_size import plausible
from swin_umamba.errors import DataError
from swin_umamba.extras import extra_module
from swin_umamba.regions.source import Level, Placement, RegionSource, check_levels, check_shape, chosen_level

_CHUNK = 512
_DAMAGED = "copy or download the slide again with all of its files; it is damaged or of an unknown kind"


class OpenSlideSource(RegionSource):
    """A slide, red, green and blue; where it has no tissue scanned, its background colour.

    Parameters
    ----------
    path
        The slide's file; OpenSlide may read others beside it.
    level
        Level of the pyramid.
    """

    flat = True

    def __init__(self, path: Path, level: int = 0) -> None:
        self._opening = (path, level)
        need, otherwise = "slides of this scanner need OpenSlide", ", or export the slide as a tiled TIFF"
        library = extra_module("openslide", need, "openslide", otherwise=otherwise)
        try:
            self._slide = library.OpenSlide(path)
        except library.OpenSlideError as error:
            raise DataError(f"OpenSlide cannot open the slide: {error}", where=path, hint=_DAMAGED) from error
        self._error = library.OpenSlideError
        self.path, self.dtype, self.chunk = path, np.dtype(np.uint8), (1, _CHUNK, _CHUNK)
        self.levels = tuple(
            Level((1, height, width), (1.0, step, step))
            for (width, height), step in zip(
                self._slide.level_dimensions, self._slide.level_downsamples, strict=True
            )
        )
        check_levels(path, self.levels)
        self.level = chosen_level(path, level, len(self.levels))
        own = self.levels[level]
        self.shape = (3, *own.shape)
        check_shape(path, self.shape)
        properties = self._slide.properties
        self._background = _colour(properties.get("openslide.background-color", "FFFFFF"))
        y, x = (_length(properties.get(f"openslide.mpp-{axis}")) * own.downsample[1] for axis in "yx")
        if plausible(y / 1000, x / 1000):
            self.placement = Placement((1.0, y, x), units=("millimeter", "micrometer", "micrometer"))

    def _read(self, z: tuple[int, int], y: tuple[int, int], x: tuple[int, int]) -> np.ndarray:
        step = self.levels[self.level].downsample[1]
        corner = round(x[0] * step), round(y[0] * step)  # in pixels of the largest level, as it wants it
        try:
            pixels = self._slide.read_region(corner, self.level, (x[1] - x[0], y[1] - y[0]))
        except self._error as error:
            raise DataError(
                f"OpenSlide cannot read the region y {y}, x {x} of level {self.level}: {error}",
                where=self.path,
                hint=_DAMAGED,
            ) from error
        values = np.asarray(pixels)
        colours, there = values[..., :3], values[..., 3:] > 0
        region: np.ndarray = np.where(there, colours, self._background).astype(np.uint8).transpose(2, 0, 1)
        return region[:, None]

    def close(self) -> None:
        """Close the slide."""
        self._slide.close()


def _colour(text: str) -> np.ndarray:
    """Return the colour of a slide without tissue; white if it is not said."""
    try:
        return np.frombuffer(bytes.fromhex(text), np.uint8)[:3].reshape(3)
    except ValueError:
        return np.full(3, 255, np.uint8)


def _length(text: str | None) -> float:
    """Return micrometres; NaN if they are not said."""
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")
