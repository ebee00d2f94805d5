"""TIFF files read by region: tiles, pyramids, OME-TIFF, and the slides of Aperio and Hamamatsu.

What a page's values mean is settled in ``data``, where whole files are read; here it is which page is which
level, and which of its tiles a region touches.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from swin_umamba.data.dicom.files import unreadable
from swin_umamba.data.tiff import channels_in, describe, orientation_of
from swin_umamba.data.tiff_imagej import ImageJ
from swin_umamba.data.tiff_layout import Layout, layout_of
from swin_umamba.data.tiff_pixel_size import size_by_tags
from swin_umamba.data.tiff_pixels import Segments, read_samples, segments_of
from swin_umamba.data.tiff_tags import Page, read_pages, read_subpages
from swin_umamba.errors import DataError
from swin_umamba.regions.ndpi import NDPI, ndpi_pages, restart_tiles
from swin_umamba.regions.source import (
    Box,
    Level,
    Placement,
    RegionSource,
    check_chunk,
    check_levels,
    check_shape,
    chosen_level,
)

_REDUCED = 1
_APERIO = "Aperio"
_MPP = re.compile(r"\|\s*MPP\s*=\s*([0-9.eE+-]+)\s*(?:\||$)")
# Lists of tiles of a slide take megabytes each; a volume has thousands of pages.
_MOST_LISTS = 16
_THIN, _TOGETHER = 32, 256


@dataclass(frozen=True)
class _Stored:
    """How a page is stored, and where its tiles are."""

    layout: Layout
    segments: Segments


@dataclass(frozen=True)
class _Pages:
    """The pages of a file by what they show.

    Attributes
    ----------
    levels
        For each level, the page of each channel and slice: ``(channels, slices)`` of ``Page``.
    size
        Size of a pixel of the largest level along z, y and x in mm; None if it is not known.
    imagej
        ImageJ's description, which changes what values mean.
    """

    levels: tuple[np.ndarray, ...]
    size: tuple[float, ...] | None
    imagej: ImageJ | None = None


class TiffSource(RegionSource):
    """A TIFF file, a tile at a time.

    Parameters
    ----------
    path
        The file.
    level
        Level of the pyramid.
    """

    def __init__(self, path: Path, level: int = 0) -> None:
        self._opening = (path, level)
        self.path, self._lock = path, Lock()
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise unreadable(path, error) from error
        try:
            self._pages = _find_pages(read_pages(path, self._file))
            self._describe(path, level)
        except BaseException:
            self.close()
            raise

    def _describe(self, path: Path, level: int) -> None:
        found = self._pages
        layouts: list[Layout] = []
        for number, stack in enumerate(found.levels):
            layout = _layout_of(stack.flat[0])
            check_chunk(path, (*layout.tile, layout.tile_samples), layout.dtype.itemsize)
            if layouts and _kind(layout) != _kind(layouts[0]):
                raise DataError(
                    f"the levels of the pyramid disagree: level 0 is {layouts[0].kind}, level {number} "
                    f"{layout.kind}",
                    where=path,
                    hint="write the pyramid again from its largest level",
                )
            layouts.append(layout)
        self.levels = tuple(
            _level(layout, layouts[0], stack.shape[1])
            for layout, stack in zip(layouts, found.levels, strict=True)
        )
        check_levels(path, self.levels)
        self.level = chosen_level(path, level, len(self.levels))
        self._stack, own = found.levels[level], self.levels[level]
        self._stored = lru_cache(_MOST_LISTS)(lambda *place: _stored_of(self._stack[place]))
        self.flat = self._stack.shape[1] == 1
        check_shape(path, (layouts[level].samples * len(self._stack), *own.shape))
        # What a value means depends on palettes, alpha and calibrations: one pixel tells.
        pixel = self._page_region((0, 0), (0, 1), (0, 1))
        self.shape = (len(pixel) * len(self._stack), *own.shape)
        if len(pixel) > 1 and len(self._stack) > 1:
            raise self._stack.flat[0].unsupported(
                f"files with {len(pixel)} values a pixel in each of {len(self._stack)} channels are",
                "save one channel a page",
            )
        self.dtype = pixel.dtype
        self.chunk = _chunk(layouts[level], own.shape)
        if found.size is not None:
            z, y, x = (size * step for size, step in zip(found.size, own.downsample, strict=True))
            self.placement = Placement((z, y, x), units=("millimeter",) * 3)

    def _read(self, z: tuple[int, int], y: tuple[int, int], x: tuple[int, int]) -> np.ndarray:
        region = np.empty((self.shape[0], z[1] - z[0], y[1] - y[0], x[1] - x[0]), self.dtype)
        for place, number in enumerate(range(*z)):
            for channel in range(len(self._stack)):
                values = self._page_region((channel, number), y, x)
                region[channel if len(self._stack) > 1 else slice(None), place] = (
                    values[0] if len(self._stack) > 1 else values
                )
        return region

    def _page_region(self, place: tuple[int, int], y: tuple[int, int], x: tuple[int, int]) -> np.ndarray:
        page = self._stack[place]
        with self._lock:
            stored = self._stored(*place)
            if _kind(stored.layout) != _kind(_layout_of(self._stack.flat[0])):
                raise page.unsupported("files with pages of several kinds are", "save each image by itself")
            values = read_samples(page, stored.layout, (y, x), stored.segments)
        return channels_in(page, stored.layout, values, self._pages.imagej, indexed=False)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def is_upright(path: Path) -> bool:
    """Return whether the rows and columns of a file are those of its picture."""
    with path.open("rb") as file:
        return orientation_of(read_pages(path, file)[0]) == 1


def _find_pages(pages: list[Page]) -> _Pages:
    first = pages[0]
    if NDPI in first:
        return _Pages(tuple(map(_alone, ndpi_pages(pages))), _flat_size(size_by_tags(first)))
    description = next((text for text in first.texts(270) if text.startswith(_APERIO)), None)
    if description is not None:
        levels = [page for page in pages if 322 in page]
        if not levels or levels[0] is not first:
            raise first.unsupported("files of Aperio without tiles are", "save it as a tiled TIFF")
        return _Pages(
            tuple(map(_alone, levels)), _aperio_size(description) or _flat_size(size_by_tags(first))
        )
    found = describe(pages)
    stack = np.array(pages, object)[found.stack]
    size = found.spacing(of_labels=False)
    smaller = _sublevels(stack)
    if not smaller and stack.size == 1:
        smaller = [
            _alone(page)
            for page in pages
            if page.number_of(254, 0) & _REDUCED and _shrinks(page, found.first)
        ]
    return _Pages((stack, *smaller), _flat_size(size) if found.flat else size, found.imagej)


def _sublevels(stack: np.ndarray) -> list[np.ndarray]:
    """Return the levels in the pages within pages, which all pages have to have in equal number."""
    below = [read_subpages(page) for page in stack.flat]
    if len({len(each) for each in below}) != 1:
        raise stack.flat[0].damaged("its pages have different numbers of smaller levels")
    return [level.reshape(stack.shape) for level in np.array(below, object).T]


def _shrinks(page: Page, largest: Page) -> bool:
    """Return whether a reduced page shows all of the largest one, and not a label or something else."""
    (height, width), (whole_height, whole_width) = (
        (each.number_of(257, 0), each.number_of(256, 0)) for each in (page, largest)
    )
    if not (0 < height < whole_height and 0 < width < whole_width):
        return False
    step = max(whole_height / height, whole_width / width)
    same = page.number_of(277, 1) == largest.number_of(277, 1)
    return (
        same and abs(height * step - whole_height) <= 2 * step and abs(width * step - whole_width) <= 2 * step
    )


def _level(layout: Layout, largest: Layout, slices: int) -> Level:
    """Return a level by its size: a whole number of times smaller where rounding explains the rest."""
    step = max(largest.length / layout.length, largest.width / layout.width)
    near = round(step)
    if near >= 1 and all(
        whole // near <= length <= math.ceil(whole / near)
        for whole, length in ((largest.length, layout.length), (largest.width, layout.width))
    ):
        step = float(near)
    return Level((slices, layout.length, layout.width), (1.0, step, step))


def _layout_of(page: Page) -> Layout:
    return restart_tiles(page)[0] if NDPI in page else layout_of(page)


def _stored_of(page: Page) -> _Stored:
    if NDPI in page:
        layout, segments = restart_tiles(page)
        return _Stored(layout, segments or segments_of(page, layout))
    layout = layout_of(page)
    return _Stored(layout, segments_of(page, layout))


def _kind(layout: Layout) -> tuple[Any, ...]:
    """Return what pages of one image have in common, but for their size and coding."""
    return layout.samples, layout.dtype, layout.photometric in (2, 6), layout.extra


def _chunk(layout: Layout, shape: Box) -> Box:
    """Return the tiles that are worth reading at once: thin ones several together."""
    height, width = layout.tile
    if height < _THIN:
        height *= math.ceil(min(_TOGETHER, shape[1]) / height)
    return 1, min(height, shape[1]), min(width, shape[2])


def _alone(page: Page) -> np.ndarray:
    return np.array([[page]], object)


def _aperio_size(description: str) -> tuple[float, float, float] | None:
    """Return the size of a pixel in mm by Aperio's description."""
    found = _MPP.search(description)
    try:
        length = float(found[1]) / 1000 if found else 0.0
    except ValueError:
        return None
    return _flat_size((length, length)) if length > 0 else None


def _flat_size(size: Sequence[float] | None) -> tuple[float, float, float] | None:
    return None if size is None else (1.0, *size[-2:])  # type: ignore[return-value]
