"""What of an image is tissue, and what background: glass, or darkness.

The mean of the channels, rounded down, is divided in two by Otsu's threshold (IEEE Trans. SMC 9, 62-66, 1979)
of the whole image. The side with the most frequent value is background; a cell of the image is of tissue if a
part of ``TISSUE_IN_CELL`` of it is on the other side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TISSUE_IN_CELL = 0.05
"""A cell is of tissue if so much of it differs from the background."""
CELL = 512
"""Side of a cell in pixels; cells lie side by side from the image's first pixel on, in each slice."""
GREY_LEVELS = 2**16


@dataclass(frozen=True)
class TissueRule:
    """How to tell tissue in an image.

    Attributes
    ----------
    threshold
        Highest grey value of the darker side.
    dark
        Whether the darker side is background.
    """

    threshold: int
    dark: bool

    @classmethod
    def of(cls, counts: np.ndarray) -> TissueRule:
        """Return the rule for an image with a histogram of ``GREY_LEVELS`` grey values."""
        threshold = otsu_threshold(counts)
        return cls(threshold, int(counts.argmax()) <= threshold)

    def is_tissue(self, grey: np.ndarray) -> bool:
        """Return whether a cell is of tissue, given its grey values."""
        share = float((grey > self.threshold).mean())
        return (share if self.dark else 1 - share) >= TISSUE_IN_CELL


def tells_tissue(dtype: np.dtype) -> bool:
    """Return whether tissue can be told from background in images of a dtype: by the values' histogram."""
    return dtype.kind in "bu" and dtype.itemsize <= 2


def grey_of(pixels: np.ndarray) -> np.ndarray:
    """Return the grey values of pixels ``(channels, ...)``."""
    grey: np.ndarray = pixels.sum(0, dtype=np.int64) // len(pixels)
    return grey


def background_share(image: np.ndarray) -> float | None:
    """Return the fraction of cells without tissue of an image ``(channels, ..., Y, X)``.

    None if tissue cannot be told from background in its dtype.
    """
    if not tells_tissue(image.dtype):
        return None
    grey = grey_of(image)
    slices = grey.reshape(-1, *grey.shape[-2:])
    rule = TissueRule.of(np.bincount(grey.ravel(), minlength=GREY_LEVELS))
    found = [
        rule.is_tissue(each[top : top + CELL, left : left + CELL])
        for each in slices
        for top in range(0, each.shape[0], CELL)
        for left in range(0, each.shape[1], CELL)
    ]
    return 1 - float(np.mean(found))


def otsu_threshold(counts: np.ndarray) -> int:
    """Return the highest value of the lower class of a histogram; the lowest of equally good ones."""
    values = np.arange(len(counts))
    below = np.cumsum(counts, dtype=np.float64)
    sums = np.cumsum(counts * values, dtype=np.float64)
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        difference = sums / below - (sums[-1] - sums) / above
        between = np.where((below > 0) & (above > 0), below * above * difference**2, 0.0)
    return int(between.argmax())
