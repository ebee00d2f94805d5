"""What every image that is read by region offers, whatever its format."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from swin_umamba.data.image import Image
from swin_umamba.data.tiff_pixel_size import MILLIMETRES, plausible
from swin_umamba.errors import DataError, UsageError

Box = tuple[int, int, int]
"""Lengths along z, y and x."""
Triple = tuple[float, float, float]
"""Numbers along z, y and x."""
SYMBOLS = {"picometer": "pm", "angstrom": "Å", "nanometer": "nm", "micrometer": "µm", "millimeter": "mm"} | {
    "centimeter": "cm",
    "decimeter": "dm",
    "meter": "m",
    "inch": "in",
}
"""Symbol of a unit in OME-XML, by its name in OME-Zarr."""
UNITS = {name: MILLIMETRES[symbol] for name, symbol in SYMBOLS.items()}
"""Millimetres of a unit, by its name in OME-Zarr."""
MAX_CHUNK_BYTES = 2**28
"""Most bytes of a chunk or tile, decoded: it has to be decoded whole, however small the region."""
MAX_LENGTH = 2**31
"""Longest axis."""
MAX_CHANNELS = 2**16


@dataclass(frozen=True)
class Level:
    """One level of a pyramid.

    Attributes
    ----------
    shape
        Voxels along z, y and x.
    downsample
        Size of its voxels along z, y and x, in voxels of the largest level.
    offset
        Place of its voxel 0 along z, y and x, in voxels of the largest level.
    """

    shape: Box
    downsample: Triple
    offset: Triple = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Placement:
    """Where the voxels of a source lie, in the units of its file.

    Attributes
    ----------
    scale
        Size of a voxel along z, y and x. Of an image without a z axis, z is 1.
    translation
        Position of voxel 0 along z, y and x.
    units
        Unit along z, y and x by its name in OME-Zarr, such as ``micrometer``; None if it is not known.
    """

    scale: Triple = (1.0, 1.0, 1.0)
    translation: Triple = (0.0, 0.0, 0.0)
    units: tuple[str | None, str | None, str | None] = (None, None, None)

    @property
    def spacing(self) -> Triple | None:
        """Size of a voxel along z, y and x in mm; None if it is not known for all three."""
        z, y, x = (
            size * UNITS.get(unit or "", math.nan) for size, unit in zip(self.scale, self.units, strict=True)
        )
        return (z, y, x) if plausible(z, y, x) else None


class RegionSource(ABC):
    """An image of which regions are read: of one level, (channels, z, y, x).

    It is a context manager, and pickles as what ``open_region_source`` was called with, so that another
    process opens the file itself.

    Attributes
    ----------
    path
        File or folder; None of an array in memory.
    shape
        ``(channels, z, y, x)``.
    dtype
        Type of the values, in native byte order.
    placement
        Size and place of the voxels.
    levels
        All levels of the pyramid, the largest first; one if there is none.
    level
        The level that is read.
    chunk
        Voxels along z, y and x that are stored together. Regions that begin and end at multiples of it cost
        least.
    flat
        Whether the image has no z axis; z is then one long.
    """

    path: Path | None
    shape: tuple[int, int, int, int]
    dtype: np.dtype
    placement: Placement = Placement()
    levels: tuple[Level, ...]
    level: int = 0
    chunk: Box
    flat: bool = False
    _opening: tuple[Any, ...]  # arguments of the class that open the same

    @property
    def spacing(self) -> Triple | None:
        """Size of a voxel along z, y and x in mm; None if it is not known. Of a flat image, z is 1."""
        return self.placement.spacing

    def read(self, z: slice, y: slice, x: slice) -> np.ndarray:
        """Return a region, ``(channels, z, y, x)``, C-contiguous, in the image's dtype.

        Parameters
        ----------
        z, y, x
            Slices without a step. An open end is the image's; what lies outside of it is an error.

        Raises
        ------
        DataError
            A part of the file that the region needs is damaged or missing.
        """
        bounds = [bounds_of(each, length) for each, length in zip((z, y, x), self.shape[1:], strict=True)]
        region = self._read(*bounds)
        expected = (self.shape[0], *(stop - start for start, stop in bounds))
        assert region.shape == expected, (region.shape, expected)
        return np.ascontiguousarray(region, self.dtype)

    @abstractmethod
    def _read(self, z: tuple[int, int], y: tuple[int, int], x: tuple[int, int]) -> np.ndarray:
        """Return the region from the first to before the last voxel of each axis, which all exist."""

    @abstractmethod
    def close(self) -> None:
        """Close the file; nothing can be read afterwards."""

    def __enter__(self) -> RegionSource:
        return self

    def __exit__(self, *reason: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Callable[..., RegionSource], tuple[Any, ...]]:
        return type(self), self._opening


class ArraySource(RegionSource):
    """An image in memory.

    Parameters
    ----------
    image
        An image, or an array ``(channels, y, x)`` or ``(channels, z, y, x)``.
    reopen
        Function and arguments that give the source again; without, pickling copies the voxels.
    """

    def __init__(
        self,
        image: Image | np.ndarray,
        reopen: tuple[Callable[..., RegionSource], tuple[Any, ...]] | None = None,
    ) -> None:
        data = image.data if isinstance(image, Image) else image
        if data.ndim not in (3, 4) or not data.size:
            raise ValueError(f"an image is (channels, (z,) y, x) and not empty, not {data.shape}")
        self._opening, self._reopen = (image,), reopen
        self.flat = data.ndim == 3
        self._data = data[:, None] if self.flat else data
        self.path = image.path if isinstance(image, Image) else None
        self.shape, self.dtype = self._data.shape, data.dtype
        self.chunk = self._data.shape[1:]
        self.levels = (Level(self.chunk, (1.0, 1.0, 1.0)),)
        if isinstance(image, Image) and image.has_spacing:
            z, y, x = (1.0,) * (4 - data.ndim) + tuple(image.spacing)
            self.placement = Placement((z, y, x), units=("millimeter",) * 3)

    def _read(self, z: tuple[int, int], y: tuple[int, int], x: tuple[int, int]) -> np.ndarray:
        return self._data[:, slice(*z), slice(*y), slice(*x)]

    def __reduce__(self) -> tuple[Callable[..., RegionSource], tuple[Any, ...]]:
        return self._reopen or super().__reduce__()

    def close(self) -> None:
        """Leave the voxels to whom they belong."""


def bounds_of(part: slice, length: int) -> tuple[int, int]:
    """Return the first voxel of a slice and the one after its last.

    Raises
    ------
    ValueError
        It has a step, is empty, or leads out of an axis of this length.
    """
    start = 0 if part.start is None else int(part.start)
    stop = length if part.stop is None else int(part.stop)
    if part.step not in (None, 1) or not 0 <= start < stop <= length:
        raise ValueError(f"{part} is no part of an axis of {length} voxels")
    return start, stop


def check_shape(path: Path, shape: tuple[int, ...]) -> None:
    """Refuse sizes that no image has: they come from damaged or hostile files."""
    channels, *lengths = shape
    if not 0 < channels <= MAX_CHANNELS or not all(0 < length <= MAX_LENGTH for length in lengths):
        raise DataError(
            f"the image claims {channels} channels of {' x '.join(map(str, lengths))} voxels",
            where=path,
            hint="the file is damaged; copy or download it again",
        )


def check_chunk(path: Path, chunk: tuple[int, ...], itemsize: int) -> None:
    """Refuse chunks, tiles or strips that are too large to be decoded for each region."""
    size = itemsize * math.prod(chunk)
    if min(chunk) < 1 or size > MAX_CHUNK_BYTES:
        raise DataError(
            f"the image is stored in parts of {' x '.join(map(str, chunk))} values, {size} bytes each; "
            f"{MAX_CHUNK_BYTES} are the most for reading by region",
            where=path,
            hint="save it with smaller tiles or chunks, 512 x 512 for example",
        )


def check_levels(path: Path, levels: tuple[Level, ...]) -> None:
    """Refuse a pyramid whose levels do not become smaller, or show different parts of the image."""
    for number, (larger, level) in enumerate(pairwise(levels), start=1):
        pairs = list(zip(level.shape, larger.shape, strict=True))
        shrinks = any(small < large for small, large in pairs) and all(
            small <= large for small, large in pairs
        )
        # Writers round lengths down or up, each level anew.
        covers = all(
            abs(length * step - whole) <= 2 * step
            for length, step, whole in zip(level.shape, level.downsample, levels[0].shape, strict=True)
        )
        if not shrinks or not covers:
            raise DataError(
                f"the levels of the pyramid disagree: level {number} has {level.shape} voxels (z, y, x), "
                f"level {number - 1} {larger.shape}, and it is {_rounded(level.downsample)} times smaller "
                f"than level 0 of {levels[0].shape}",
                where=path,
                hint="write the pyramid again from its largest level",
            )


def chosen_level(path: Path, level: int, levels: int) -> int:
    """Return the number of a level, which has to exist.

    Raises
    ------
    UsageError
        There is no such level.
    """
    if not 0 <= level < levels:
        raise UsageError(
            f"the image has no level {level}", where=path, hint=f"its levels are 0 to {levels - 1}"
        )
    return level


def _rounded(numbers: Triple) -> tuple[float, ...]:
    return tuple(float(f"{number:.4g}") for number in numbers)
