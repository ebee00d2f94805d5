"""Label maps written by region, by one process or several."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path

import numpy as np

from swin_umamba.errors import OutputError
from swin_umamba.json_files import read_json, write_json
from swin_umamba.regions.source import Box, Level, Placement, RegionSource, bounds_of
from swin_umamba.schema import Provenance, rule_of

UNFINISHED = ".unfinished.json"
"""End of the name of the file that marks a label map as unfinished, in its folder or beside its file."""
_SMALLEST_LEVEL = 1024
_LONGEST_CHUNK = (32, 512, 512)


@dataclass(frozen=True)
class LabelGrid:
    """What a label map is, without its values.

    Attributes
    ----------
    shape
        Voxels along z, y and x.
    dtype
        An integer type.
    block
        Voxels along z, y and x that are written at once: whole chunks and whole shards.
    placement
        Size and place of the voxels.
    levels
        Levels of the pyramid, the first of ``shape``; None for halves until no side is longer than 1024.
    flat
        Whether the image has no z axis.
    names, colours
        Name, and red, green and blue (0 to 255), of values.
    """

    shape: Box
    dtype: np.dtype
    block: Box
    placement: Placement = field(default_factory=Placement)
    levels: tuple[Level, ...] | None = None
    flat: bool = False
    names: Mapping[int, str] = field(default_factory=dict)
    colours: Mapping[int, tuple[int, int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if np.dtype(self.dtype).kind not in "iu" or min(*self.shape, *self.block) < 1:
            raise ValueError(f"labels of {self.dtype}, {self.shape}, in blocks of {self.block}")
        if self.levels and self.levels[0].shape != self.shape:
            raise ValueError(f"the first level is {self.levels[0].shape}, the labels are {self.shape}")

    @classmethod
    def like(
        cls,
        source: RegionSource,
        dtype: np.dtype,
        block: Box,
        names: Mapping[int, str] | None = None,
        colours: Mapping[int, tuple[int, int, int]] | None = None,
    ) -> LabelGrid:
        """Return the grid for labels of a source: its place, and its level and all smaller ones."""
        own = source.levels[source.level]

        def relative(level: Level) -> Level:
            steps = list(zip(level.downsample, level.offset, own.downsample, own.offset, strict=True))
            z, y, x = (step / mine for step, _, mine, _ in steps)
            z0, y0, x0 = ((place - here) / mine for _, place, mine, here in steps)
            return Level(level.shape, (z, y, x), (z0, y0, x0))

        smaller = tuple(relative(level) for level in source.levels[source.level :])
        return cls(
            own.shape,
            np.dtype(dtype),
            block,
            source.placement,
            smaller if len(source.levels) > 1 else None,
            source.flat,
            names or {},
            colours or {},
        )

    def part(self, z: slice, y: slice, x: slice) -> LabelGrid:
        """Return the grid of a part of the labels, with a pyramid of its own."""
        moved = tuple(
            first + part.start * step
            for first, part, step in zip(
                self.placement.translation, (z, y, x), self.placement.scale, strict=True
            )
        )
        shape = z.stop - z.start, y.stop - y.start, x.stop - x.start
        placement = replace(self.placement, translation=moved)
        return replace(self, shape=shape, placement=placement, levels=None)

    @property
    def pyramid(self) -> tuple[Level, ...]:
        """All levels, the first of the grid's own shape."""
        if self.levels:
            return self.levels
        levels = [Level(self.shape, (1.0, 1.0, 1.0))]
        while max(levels[-1].shape[1:]) > _SMALLEST_LEVEL:
            (depth, height, width), step = levels[-1].shape, 2.0 ** len(levels)
            shape = depth, (height + 1) // 2, (width + 1) // 2
            # Of two voxels the second is taken, and stands in the middle of the two.
            shift = (step - 1) / 2
            levels.append(Level(shape, (1.0, step, step), (0.0, shift, shift)))
        return tuple(levels)

    @property
    def chunk(self) -> Box:
        """Voxels that are compressed together: the largest whole part of a block within a limit."""
        z, y, x = (
            max(part for part in range(1, most + 1) if length % part == 0)
            for length, most in zip(self.block, _LONGEST_CHUNK, strict=True)
        )
        return z, y, x

    def placement_of(self, level: Level) -> Placement:
        """Return where the voxels of a level lie."""
        own = self.placement
        z, y, x = (size * step for size, step in zip(own.scale, level.downsample, strict=True))
        z0, y0, x0 = (
            place + size * moved
            for place, size, moved in zip(own.translation, own.scale, level.offset, strict=True)
        )
        return Placement((z, y, x), (z0, y0, x0), own.units)

    def nearest(self, number: int) -> list[np.ndarray]:
        """Return for each axis which voxels of level ``number - 1`` those of level ``number`` are."""
        level, larger = self.pyramid[number], self.pyramid[number - 1]
        return [
            np.minimum(((np.arange(length) + 0.5) * step / before).astype(np.int64), whole - 1)
            for length, step, before, whole in zip(
                level.shape, level.downsample, larger.downsample, larger.shape, strict=True
            )
        ]


@dataclass(frozen=True)
class _Written:
    """A grid as it stands in the file that marks an unfinished label map."""

    shape: tuple[int, int, int]
    dtype: str
    block: tuple[int, int, int]
    scale: tuple[float | int, float | int, float | int]
    translation: tuple[float | int, float | int, float | int]
    units: list[str | None]
    levels: list[list[float | int]]
    flat: bool
    names: dict[str, str]
    colours: dict[str, list[int]]
    image: str | None


def write_description(file: Path, grid: LabelGrid, image: str | None) -> None:
    """Write what another process needs to go on with a label map; ``image`` is the path of its image."""
    described = _Written(
        grid.shape,
        np.dtype(grid.dtype).name,
        grid.block,
        grid.placement.scale,
        grid.placement.translation,
        list(grid.placement.units),
        [[*level.shape, *level.downsample, *level.offset] for level in grid.levels or ()],
        grid.flat,
        {str(value): name for value, name in grid.names.items()},
        {str(value): list(colour) for value, colour in grid.colours.items()},
        image,
    )
    write_json(file, asdict(described))


def read_description(file: Path) -> tuple[LabelGrid, str | None]:
    """Return the grid of an unfinished label map, and the path of its image.

    Raises
    ------
    OutputError
        The file is not there or is damaged.
    """
    hint = "nothing is being written there; begin it again"
    found = read_json(file, dict, error=OutputError, hint=hint)
    Provenance(file, hint, OutputError).check(found, rule_of(_Written))
    try:
        levels = tuple(
            Level((int(z), int(y), int(x)), (dz, dy, dx), (z0, y0, x0))
            for z, y, x, dz, dy, dx, z0, y0, x0 in found["levels"]
        )
        z_unit, y_unit, x_unit = found["units"]
        grid = LabelGrid(
            tuple(found["shape"]),
            np.dtype(found["dtype"]),
            tuple(found["block"]),
            Placement(tuple(found["scale"]), tuple(found["translation"]), (z_unit, y_unit, x_unit)),
            levels or None,
            found["flat"],
            {int(value): name for value, name in found["names"].items()},
            {int(value): (red, green, blue) for value, (red, green, blue) in found["colours"].items()},
        )
    except (TypeError, ValueError) as error:
        raise OutputError(f"the file makes no sense: {error}", where=file, hint=hint) from error
    return grid, found["image"]


class LabelWriter(ABC):
    """Writes a label map block by block; several processes may write different blocks at the same time.

    It pickles as its place: another process opens it again.

    Attributes
    ----------
    path
        What ``open_labels`` opens again.
    grid
        What is written.
    """

    path: Path
    grid: LabelGrid

    def write(self, z: slice, y: slice, x: slice, labels: np.ndarray) -> None:
        """Write a region of whole blocks; only at the end of an axis may a block be shorter.

        Parameters
        ----------
        z, y, x
            The region.
        labels
            ``(z, y, x)``, integers that the grid's type can hold.

        Raises
        ------
        ValueError
            The region does not begin and end where blocks do: the process that writes the rest of the block
            would lose one of the two.
        OutputError
            It cannot be written, for example because the disk is full.
        """
        bounds = []
        for part, length, block in zip((z, y, x), self.grid.shape, self.grid.block, strict=True):
            start, stop = bounds_of(part, length)
            if start % block or (stop % block and stop != length):
                raise ValueError(f"{start} to {stop} are no whole blocks of {block}")
            bounds.append((start, stop))
        if labels.shape != tuple(stop - start for start, stop in bounds):
            raise ValueError(f"labels of shape {labels.shape} for the region {bounds}")
        if labels.dtype.kind not in "iub":
            raise ValueError(f"labels are integers, not {labels.dtype}")
        limits = np.iinfo(self.grid.dtype)
        if (
            labels.dtype.kind != "b"
            and labels.size
            and not (limits.min <= labels.min() and labels.max() <= limits.max)
        ):
            raise ValueError(f"labels up to {labels.max()} do not fit into {self.grid.dtype}")
        self._write(tuple(slice(*each) for each in bounds), labels.astype(self.grid.dtype, copy=False))

    @abstractmethod
    def read(self, z: slice, y: slice, x: slice) -> np.ndarray:
        """Return what has been written there, ``(z, y, x)``; zeros elsewhere."""

    @abstractmethod
    def finish(self) -> Path:
        """Write the smaller levels, each voxel the nearest of the largest level, and then the metadata.

        One process calls it, after all blocks. Without it the output is recognisable as unfinished.

        Returns
        -------
        Path
            The finished label map.
        """

    @abstractmethod
    def _write(self, region: tuple[slice, ...], labels: np.ndarray) -> None:
        """Write a region of whole blocks, ``(z, y, x)`` in the grid's type."""


@contextmanager
def writing(path: Path, failed: str = "the labels cannot be written") -> Iterator[None]:
    """Report what the system says of a write that failed."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{failed}: {error.strerror or error}",
            where=path,
            hint="check that the folder is writable and has free space; finished blocks are kept",
        ) from error


def blocks_of(shape: Box, block: Box) -> Iterator[tuple[slice, slice, slice]]:
    """Return the blocks of a shape, x fastest."""
    starts = [range(0, length, step) for length, step in zip(shape, block, strict=True)]
    for corner in product(*starts):
        z, y, x = (
            slice(start, min(start + step, length))
            for start, step, length in zip(corner, block, shape, strict=True)
        )
        yield z, y, x
