"""Label maps as SVG paths over an image, exact to the pixel and sharp at any zoom."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image as PillowImage

QUALITY = 82


def outline_path(mask: np.ndarray) -> str:
    """Return the path of the border of a boolean mask (y, x), along the edges of its pixels.

    Of an instance map, which holds the number of the object of each pixel, it is the border of every object.
    """
    padded = np.pad(mask, 1)
    across = padded[1:, 1:-1] != padded[:-1, 1:-1]
    down = padded[1:-1, 1:] != padded[1:-1, :-1]
    pieces = [f"M{start} {row}h{length}" for row, start, length in runs(across)]
    pieces += [f"M{column} {start}v{length}" for column, start, length in runs(down.T)]
    return "".join(pieces)


def fill_path(mask: np.ndarray) -> str:
    """Return the path of the pixels of a boolean mask (y, x)."""
    return "".join(f"M{start} {row}h{length}v1h-{length}z" for row, start, length in runs(mask))


def runs(mask: np.ndarray) -> list[tuple[int, int, int]]:
    """Return row, first column and length of each run of true pixels in a mask (y, x)."""
    steps = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(steps == 1)
    ends = np.nonzero(steps == -1)[1]
    return list(zip(rows.tolist(), starts.tolist(), (ends - starts).tolist(), strict=True))


def data_uri(image: np.ndarray, *, lossless: bool = False) -> str:
    """Return a picture, uint8 (y, x, 3) or (y, x, 4) with opacity, as a WebP data URI."""
    buffer = io.BytesIO()
    PillowImage.fromarray(image).save(buffer, format="WEBP", quality=QUALITY, method=4, lossless=lossless)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
