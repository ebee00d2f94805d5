"""Label maps as tiled BigTIFF with smaller levels, and OME-XML for the size of a voxel."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np

from swin_umamba.errors import OutputError
from swin_umamba.files import atomic_write
from swin_umamba.regions.labels import (
    UNFINISHED,
    LabelGrid,
    LabelWriter,
    blocks_of,
    read_description,
    write_description,
    writing,
)
from swin_umamba.regions.source import SYMBOLS, bounds_of

_TILE = 512


class TiffLabelWriter(LabelWriter):
    """Keeps blocks, one after the other, in a file beside the TIFF file, which is made of them at the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.grid, _ = read_description(_description(path))
        self._blocks = _blocks(path)
        self._counts = tuple(
            math.ceil(length / step) for length, step in zip(self.grid.shape, self.grid.block, strict=True)
        )
        self._bytes = math.prod(self.grid.block) * np.dtype(self.grid.dtype).itemsize

    @classmethod
    def create(cls, path: Path, grid: LabelGrid, image: Path | None) -> TiffLabelWriter:
        """Create an empty file for blocks."""
        for place in _files_of(path):
            if place.exists():
                raise OutputError(
                    "there is a file of this name already", where=place, hint="choose another, or remove it"
                )
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _blocks(path).touch(exist_ok=False)
            write_description(_description(path), grid, str(image) if image is not None else None)
        return cls(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return TiffLabelWriter, (self.path,)

    def read(self, z: slice, y: slice, x: slice) -> np.ndarray:
        """Return what has been written there, ``(z, y, x)``; zeros elsewhere."""
        parts = zip((z, y, x), self.grid.shape, strict=True)
        return self._sampled([np.arange(*bounds_of(part, length)) for part, length in parts])

    def finish(self) -> Path:
        """Write the TIFF file with its smaller levels; see ``LabelWriter``."""
        with writing(self.path), atomic_write(self.path) as temporary:
            self._write_file(temporary)
        self._blocks.unlink()
        _description(self.path).unlink()
        return self.path

    def _write(self, region: tuple[slice, ...], labels: np.ndarray) -> None:
        with writing(self.path), open(self._blocks, "r+b") as file:
            for part in blocks_of(labels.shape, self.grid.block):
                number = tuple(
                    (whole.start + inner.start) // step
                    for whole, inner, step in zip(region, part, self.grid.block, strict=True)
                )
                block = labels[part]
                if not block.any() and not self._block(number).any():
                    continue  # what was never written counts as 0, and takes no space
                whole = np.zeros(self.grid.block, self.grid.dtype)
                whole[tuple(slice(length) for length in block.shape)] = block
                file.seek(self._place(number))
                file.write(whole.tobytes())

    def _place(self, number: tuple[int, ...]) -> int:
        return int(np.ravel_multi_index(number, self._counts)) * self._bytes

    def _block(self, number: tuple[int, ...]) -> np.ndarray:
        with open(self._blocks, "rb") as file:
            file.seek(self._place(number))
            stored = file.read(self._bytes).ljust(self._bytes, b"\0")
        return np.frombuffer(stored, self.grid.dtype).reshape(self.grid.block)

    def _sampled(self, places: list[np.ndarray]) -> np.ndarray:
        """Return the voxels at ascending places along z, y and x, with one block in memory at a time."""
        out = np.zeros([len(each) for each in places], self.grid.dtype)
        owners = [each // step for each, step in zip(places, self.grid.block, strict=True)]
        for each in product(*map(_runs, owners)):
            number, runs = zip(*each, strict=True)
            inside = [
                place[run] - first * step
                for place, run, first, step in zip(places, runs, number, self.grid.block, strict=True)
            ]
            out[runs] = self._block(number)[np.ix_(*inside)]
        return out

    def _write_file(self, path: Path) -> None:
        import tifffile

        grid = self.grid
        # A page holds one slice, so that levels have the slices of the largest.
        levels = [level for level in grid.pyramid if level.shape[0] == grid.shape[0]]
        metadata: dict[str, Any] = {"axes": "YX" if grid.flat else "ZYX", "UUID": str(self._identity())}
        for axis, size, unit in zip("ZYX", grid.placement.scale, grid.placement.units, strict=True):
            if unit in SYMBOLS and not (axis == "Z" and grid.flat):
                metadata[f"PhysicalSize{axis}"] = size
                metadata[f"PhysicalSize{axis}Unit"] = SYMBOLS[unit]
        with tifffile.TiffWriter(path, bigtiff=True, ome=True) as file:
            places = [np.arange(length) for length in grid.shape]
            for number, level in enumerate(levels):
                if number:
                    steps = grid.nearest(number)
                    places = [place[step] for place, step in zip(places, steps, strict=True)]
                height, width = (min(_TILE, math.ceil(length / 16) * 16) for length in level.shape[1:])
                first = {"subifds": len(levels) - 1, "metadata": metadata}
                file.write(
                    self._tiles(places, height, width),
                    shape=level.shape[1:] if grid.flat else level.shape,
                    dtype=grid.dtype,
                    tile=(height, width),
                    compression="zlib",
                    photometric="minisblack",
                    **(first if number == 0 else {"subfiletype": 1, "metadata": None}),
                )

    def _identity(self) -> UUID:
        """Return what tells this file from others: equal labels make equal files."""
        digest = hashlib.sha256(_description(self.path).read_bytes())
        for number in np.ndindex(self._counts):
            digest.update(self._block(number).data)
        return UUID(bytes=digest.digest()[:16], version=5)

    def _tiles(self, places: list[np.ndarray], height: int, width: int) -> Iterator[np.ndarray]:
        z, y, x = places
        for part in blocks_of((len(z), len(y), len(x)), (1, height, width)):
            labels = self._sampled([place[run] for place, run in zip(places, part, strict=True)])[0]
            missing = [(0, most - length) for most, length in zip((height, width), labels.shape, strict=True)]
            yield np.pad(labels, missing)


def remove_tiff(path: Path) -> None:
    """Remove a label map, finished or not."""
    for place in _files_of(path):
        place.unlink(missing_ok=True)


def _files_of(path: Path) -> tuple[Path, ...]:
    return path, _blocks(path), _description(path)


def _runs(numbers: np.ndarray) -> Iterator[tuple[int, slice]]:
    """Return each number of an ascending list, and where it stands."""
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    for start, stop in zip(starts, [*starts[1:], len(numbers)], strict=True):
        yield int(numbers[start]), slice(int(start), int(stop))


def _blocks(path: Path) -> Path:
    return path.with_name(path.name + ".unfinished")


def _description(path: Path) -> Path:
    return path.with_name(path.name + UNFINISHED)
