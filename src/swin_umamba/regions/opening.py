"""Open an image to read regions of it."""

from __future__ import annotations

from pathlib import Path

from swin_umamba.data.image_io import read_image
from swin_umamba.errors import UsageError
from swin_umamba.regions.source import ArraySource, RegionSource, chosen_level


def open_region_source(path: str | Path, level: int = 0, series: str | None = None) -> RegionSource:
    """Open an image of which regions are read.

    Parameters
    ----------
    path
        File or folder.
    level
        Level of a pyramid, 0 for the largest.
    series
        Which image of several in the file; None if there is one.

    Returns
    -------
    RegionSource
        The image. What can only be read whole is in memory, within the limits of ``read_image``.

    Raises
    ------
    DataError
        The file is damaged, or of a kind that is not supported.
    UsageError
        There is no such level or series.
    """
    path = Path(path)
    chosen_level(path, level, 1)
    if series is not None:
        raise UsageError("the file holds one image", where=path, hint="leave the series out")
    return ArraySource(read_image(path), reopen=(open_region_source, (path, level, series)))
