"""A label map in memory that is written by region."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from swin_umamba.regions.labels import LabelGrid, LabelWriter


class LabelsInMemory(LabelWriter):
    """Keeps the labels, and how often each pixel was written."""

    def __init__(self, shape: tuple[int, int, int], block: tuple[int, int, int] = (1, 16, 16)) -> None:
        self.path = Path("memory")
        self.grid = LabelGrid(shape, np.dtype(np.uint8), block)
        self.labels = np.full(shape, 255, np.uint8)
        self.times = np.zeros(shape, int)

    def read(self, z: slice, y: slice, x: slice) -> np.ndarray:
        return self.labels[z, y, x]

    def finish(self) -> Path:
        return self.path

    def _write(self, region: tuple[slice, ...], labels: np.ndarray) -> None:
        self.labels[region] = labels
        self.times[region] += 1
