"""Mean and deviation of an image's numbers, with the same bits however the image is read.

nnU-Net normalizes an image by NumPy's float32 sums, whose last bits depend on how the memory lies. Here
integers of up to 16 bits are summed exactly. Other numbers are summed in float64 over cells of a fixed grid,
and the cells' sums are added without rounding in between (``math.fsum``), so that their order is free.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from swin_umamba.data.tissue import CELL
from swin_umamba.errors import DataError
from swin_umamba.trained.volume import Volume

SMALLEST_DEVIATION = 1e-8
"""nnU-Net divides by no less."""


@dataclass
class Moments:
    """Sums over the cells of one channel.

    Attributes
    ----------
    exact
        Whether the numbers are integers of up to 16 bits.
    """

    exact: bool
    _count: int = 0
    _total: int = 0
    _squares: int = 0
    _cells: list[tuple[int, float, float]] = field(default_factory=list)

    @classmethod
    def of_dtype(cls, dtype: np.dtype) -> Moments:
        """Return empty sums for numbers of a dtype."""
        return cls(dtype.kind in "bui" and dtype.itemsize <= 2)

    def add(self, cell: np.ndarray) -> None:
        """Add a whole cell: what the image has of a square of ``CELL`` pixels, in its own dtype."""
        if self.exact:
            numbers = cell.astype(np.int64)
            self.add_sums(cell.size, int(numbers.sum()), int(np.square(numbers, out=numbers).sum()))
            return
        # Contiguous, as NumPy's sums depend on how the memory lies; in float32, as the network sees them.
        values = np.ascontiguousarray(cell, np.float32).astype(np.float64)
        total = float(values.sum())
        values -= total / values.size
        self._cells.append((cell.size, total, float(np.square(values, out=values).sum())))

    def add_sums(self, count: int, total: int, squares: int) -> None:
        """Add integers whose exact sums are known."""
        self._count += count
        self._total += total
        self._squares += squares

    def mean_and_deviation(self, count: int | None = None) -> tuple[float, float]:
        """Return the mean and the standard deviation (over n).

        Parameters
        ----------
        count
            How many of the numbers count, if the others are zeros that do not; None for all.
        """
        if self.exact:
            number = self._count if count is None else count
            # Python rounds the quotient of two integers once.
            variance = (number * self._squares - self._total**2) / number**2
            return self._total / number, math.sqrt(variance)
        everything = sum(size for size, _, _ in self._cells)
        number = everything if count is None else count
        mean = math.fsum(total for _, total, _ in self._cells) / number
        squares = [inside + size * (total / size - mean) ** 2 for size, total, inside in self._cells]
        variance = math.fsum([*squares, -(everything - number) * mean**2]) / number
        return mean, math.sqrt(max(variance, 0.0))


def cells_of(image: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the cells of an image ``(Z, Y, X)``, or of a part that begins where cells do."""
    for plane in image:
        for top in range(0, plane.shape[0], CELL):
            for left in range(0, plane.shape[1], CELL):
                yield plane[top : top + CELL, left : left + CELL]


def moments_of(image: np.ndarray) -> Moments:
    """Return the sums over a channel ``(Z, Y, X)``."""
    moments = Moments.of_dtype(image.dtype)
    for cell in cells_of(image):
        moments.add(cell)
    return moments


def z_score(image: np.ndarray, mean: float, deviation: float) -> np.ndarray:
    """Subtract the mean from float32 numbers and divide by the deviation, in place, as nnU-Net does."""
    with np.errstate(over="ignore", invalid="ignore"):  # see check_overflow
        image -= np.float32(mean)
        image /= max(np.float32(deviation), np.float32(SMALLEST_DEVIATION))
    return image


def check_overflow(normalized: np.ndarray, image: np.ndarray, where: Path | None) -> None:
    """Refuse an image whose normalized values are not finite.

    Raises
    ------
    DataError
        Its own values are so large that normalizing them overflows.
    """
    if np.isfinite([normalized.min(), normalized.max()]).all():  # NaN is the least and the largest of all
        return
    largest = max(abs(float(image.min())), abs(float(image.max())))
    raise DataError(
        f"normalizing the image overflows: its values reach {largest:.3g}",
        where=where,
        hint="look for voxels that are far too large, and correct them",
    )


def normalized(
    volume: Volume,
    z_scored: Sequence[int],
    by_nnunet: Callable[..., np.ndarray],
    data: np.ndarray,
    seg: np.ndarray,
    *intensities: Any,
) -> np.ndarray:
    """Normalize a cropped image as nnU-Net does, but some of its channels by exact sums.

    Parameters
    ----------
    volume
        The image before nnU-Net has cropped it, which only removes zeros.
    z_scored
        The channels to normalize by mean and deviation of all pixels that are left.
    by_nnunet
        nnU-Net's method, for the others.
    data, seg, *intensities
        What nnU-Net gives it: the cropped image ``(channels, ...)``, float32, its mask, and more.
    """
    if len(z_scored) < len(data):
        raw = data[list(z_scored)]
        data = by_nnunet(data, seg, *intensities)
        data[list(z_scored)] = raw
    for channel in z_scored:
        z_score(data[channel], *moments_of(volume.data[channel]).mean_and_deviation(data[channel].size))
    return data
