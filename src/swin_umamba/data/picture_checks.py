"""Checks shared by the readers: too many pixels, transparency, damage, and unusual kinds of pictures."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from swin_umamba.errors import DataError

logger = logging.getLogger(__name__)

# 134 million pixels, 11585 x 11585; below the limit at which Pillow itself refuses.
MAX_PIXELS = 2**27
# The largest picture with four 16-bit values per pixel, and a quarter of a gigabyte for everything else.
_MAX_FILE_BYTES = 8 * MAX_PIXELS + 2**28


def damaged(path: Path, what: str) -> DataError:
    """Return the error for a file that violates its format."""
    return DataError(what, where=path, hint="copy or download the file again; it is damaged")


def not_supported(path: Path, what: str, hint: str = "convert the picture to RGB or grey PNG") -> DataError:
    """Return the error for a file that may be valid but is of an unsupported kind."""
    return DataError(f"{what} are not supported", where=path, hint=hint)


def check_pixels(path: Path, pixels: int, limit: int = MAX_PIXELS) -> None:
    """Refuse a picture of more than ``limit`` pixels."""
    if pixels > limit:
        raise DataError(
            f"the picture has {pixels} pixels; the limit is {limit}",
            where=path,
            hint="cut it into tiles; if it is not that large, the file is damaged",
        )


def read_content(path: Path) -> bytes:
    """Return the bytes of a file, which must not be larger than the largest picture needs."""
    if (size := path.stat().st_size) > _MAX_FILE_BYTES:
        raise DataError(
            f"the file has {size} bytes; the limit is {_MAX_FILE_BYTES}", where=path, hint="cut it into tiles"
        )
    return path.read_bytes()


def drop_alpha(path: Path, data: np.ndarray) -> np.ndarray:
    """Return ``data`` (channels, ...) without its last channel, which must be opaque everywhere."""
    alpha = data[-1]
    refuse_transparent(path, int(np.count_nonzero(alpha != np.iinfo(alpha.dtype).max)))
    logger.debug("%s: dropped an alpha channel that is opaque everywhere", path)
    return data[:-1]


def refuse_transparent(path: Path | None, pixels: int) -> None:
    """Refuse a picture with the given number of transparent pixels, unless it is 0."""
    if pixels:
        raise DataError(
            f"{pixels} pixels are transparent; their colour is not defined",
            where=path,
            hint="flatten the picture onto a background and save it without an alpha channel",
        )
