"""Label maps written by region, by one process or several."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from swin_umamba.regions.source import Box, Level, Placement, bounds_of


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
        Levels of the pyramid, the first of them ``shape``; None for halves until the longest side is below
        1024.
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


class LabelWriter(ABC):
    """Writes a label map block by block; several processes may write different blocks at the same time.

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
