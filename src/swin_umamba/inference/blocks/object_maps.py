"""What objects are found and measured by, besides labels: kept on disk until the whole image is predicted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from swin_umamba.inference.blocks.division import Block
from swin_umamba.instances.tiles.stored import StoredTiles

_FOREGROUND, _DEPTH = "foreground", "depth"


@dataclass(frozen=True)
class ObjectMaps:
    """Numbers of each pixel of an image in blocks, float32, ``(z, y, x)``; other processes write them, too.

    Attributes
    ----------
    foreground
        Probability of not being background.
    depth
        Depth within objects; None if the model does not know it.
    """

    foreground: StoredTiles
    depth: StoredTiles | None

    @classmethod
    def beside(cls, folder: Path, blocks: Sequence[Block], with_depth: bool) -> ObjectMaps:
        """Return those in folders beside the record of the blocks."""
        regions = [block.region for block in blocks]
        depth = StoredTiles(folder / _DEPTH, regions, np.float32) if with_depth else None
        return cls(StoredTiles(folder / _FOREGROUND, regions, np.float32), depth)

    def write(self, number: int, foreground: np.ndarray, depth: np.ndarray | None) -> None:
        """Write the numbers of a block.

        Raises
        ------
        OutputError
            They cannot be written.
        """
        self.foreground.write(number, foreground)
        if self.depth is not None:
            assert depth is not None
            self.depth.write(number, depth)

    def of_block(self, block: Block) -> Iterator[np.ndarray]:
        """Yield what has been written of a block."""
        for each in self._all:
            yield each.read(block.region)

    def remove(self) -> None:
        """Remove the files."""
        for each in self._all:
            each.remove()

    @property
    def _all(self) -> list[StoredTiles]:
        return [each for each in (self.foreground, self.depth) if each is not None]
