"""Arrays on disk in tiles, of which any region can be read: what is kept between two passes over an image."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from swin_umamba.errors import DataError
from swin_umamba.regions.labels import writing

Region = tuple[slice, ...]
"""A part of a map, one slice with both ends for each of its 2 or 3 axes."""
Read = Callable[[Region], np.ndarray]
"""Returns the values of a region."""
SIDES = {2: (2048, 2048), 3: (16, 512, 512)}
"""Size of a tile of a map with so many axes: whole blocks of label maps on disk."""


def tiles_of(shape: Sequence[int], side: Sequence[int]) -> list[Region]:
    """Return the tiles of a shape, in raster order of their first pixels."""
    starts = (range(0, length, step) for length, step in zip(shape, side, strict=True))
    return [
        tuple(
            slice(first, min(first + step, length))
            for first, step, length in zip(corner, side, shape, strict=True)
        )
        for corner in itertools.product(*starts)
    ]


def grown(region: Region, by: int, shape: Sequence[int]) -> Region:
    """Return a region with a halo, as far as the map goes."""
    return tuple(
        slice(max(part.start - by, 0), min(part.stop + by, length))
        for part, length in zip(region, shape, strict=True)
    )


def within(region: Region, window: Region) -> Region:
    """Return a region as an index of the array of a window that holds it."""
    return tuple(
        slice(part.start - whole.start, part.stop - whole.start)
        for part, whole in zip(region, window, strict=True)
    )


def size_of(region: Region) -> tuple[int, ...]:
    """Return the lengths of a region."""
    return tuple(part.stop - part.start for part in region)


def common(one: Region, other: Region) -> Region | None:
    """Return what two regions have in common; None if that is nothing."""
    both = tuple(slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, other, strict=True))
    return both if all(part.start < part.stop for part in both) else None


class StoredTiles:
    """An array in files, one for each tile; a tile of one value takes no space, a missing one is 0.

    Parameters
    ----------
    folder
        Folder of the files; made when needed.
    tiles
        Which tiles there are: they share no pixel.
    dtype
        Type of the values.
    """

    def __init__(self, folder: Path, tiles: Sequence[Region], dtype: Any) -> None:
        self.folder, self.tiles, self.dtype = folder, tiles, np.dtype(dtype)

    def write(self, number: int, values: np.ndarray) -> None:
        """Write a tile.

        Raises
        ------
        OutputError
            It cannot be written, for example because the disk is full.
        """
        values = values.astype(self.dtype, copy=False)
        first = values.flat[0]
        with writing(self.folder, "what is known of the objects cannot be kept"):
            self.folder.mkdir(parents=True, exist_ok=True)
            np.save(self._path(number), first if (values == first).all() else values)

    def update(self, region: Region, values: np.ndarray, where: np.ndarray) -> None:
        """Replace values of a region, which may reach over several tiles."""
        for number, tile in enumerate(self.tiles):
            part = common(tile, region)
            if part is not None:
                chosen, whole = within(part, region), self.read(tile)
                np.copyto(whole[within(part, tile)], values[chosen], where=where[chosen])
                self.write(number, whole)

    def read(self, region: Region) -> np.ndarray:
        """Return the values of a region.

        Raises
        ------
        DataError
            A file is damaged.
        """
        out = np.zeros(size_of(region), self.dtype)
        for number, tile in enumerate(self.tiles):
            part = common(tile, region)
            if part is not None and self._path(number).exists():
                stored = self._opened(number)
                out[within(part, region)] = stored if stored.ndim == 0 else stored[within(part, tile)]
        return out

    def holds(self, number: int) -> bool:
        """Return whether a tile has been written."""
        return self._path(number).exists()

    def remove(self) -> None:
        """Remove the files."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _opened(self, number: int) -> np.ndarray:
        try:
            stored: np.ndarray = np.load(self._path(number), mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DataError(
                f"a temporary file is damaged: {error}",
                where=self._path(number),
                hint="remove its folder, and repeat the command",
            ) from error
        return stored

    def _path(self, number: int) -> Path:
        return self.folder / f"{number}.npy"


class Workspace:
    """Makes temporary arrays over one map.

    Parameters
    ----------
    folder
        Where their files are.
    shape
        ``(y, x)`` or ``(z, y, x)`` of the map.
    side
        Size of a tile; None for ``SIDES``.
    """

    def __init__(self, folder: Path, shape: Sequence[int], side: Sequence[int] | None = None) -> None:
        self.folder, self.shape = folder, tuple(shape)
        self.tiles = tiles_of(self.shape, SIDES[len(self.shape)] if side is None else side)
        self._made = 0

    def new(self, dtype: Any) -> StoredTiles:
        """Return an array of zeros."""
        self._made += 1
        return StoredTiles(self.folder / f"{self._made}", self.tiles, dtype)

    def filled(self, dtype: Any, values: Read) -> StoredTiles:
        """Return an array with the values that a function returns for each tile."""
        stored = self.new(dtype)
        for number, tile in enumerate(self.tiles):
            stored.write(number, values(tile))
        return stored

    def around(self, tile: Region, by: int) -> Region:
        """Return a region with a halo, as far as the map goes."""
        return grown(tile, by, self.shape)

    def seams(self) -> Iterator[Region]:
        """Yield the pixels on both sides of each face of a tile, and their neighbours along the face."""
        for tile in self.tiles:
            for axis, part in enumerate(tile):
                if part.start:
                    beside = list(self.around(tile, 1))
                    beside[axis] = slice(part.start - 1, part.start + 1)
                    yield tuple(beside)
